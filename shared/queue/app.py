"""The Celery application, built for a process and never at import."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from celery import Celery
from kombu import Queue

from shared.queue.fairness import FairPriorities
from shared.queue.names import QUEUES
from shared.queue.transport import Transport
from shared.settings import Settings

_CHECK = "ssl_cert_reqs"
# kombu would go on for six seconds before it told a sender that the broker is down.
_ONE_TRY = {"max_retries": 1, "interval_start": 0, "interval_step": 0}


def create_celery(settings: Settings, *, answer_timeout: float | None = None) -> Celery:
    """Build the application that sends or runs tasks.

    Args:
        settings: Where the broker is.
        answer_timeout: Seconds after which a command to the broker fails, in the place of
            `settings.answer_timeout_seconds`. A sender sets a shorter one, so that a frozen broker
            holds up no upload.

    A worker takes a message for good, and only for a free thread. It is the lease that brings a
    killed worker's jobs back, and the sweeper that finds a job whose message was taken and which
    nobody claimed: an acknowledgement would add nothing to it but two commands a job.
    """
    broker = _verifying(settings.broker_url.get_secret_value())
    app = Celery("hemotriage", broker=broker, set_as_current=False)
    timeout = settings.connect_timeout_seconds
    app.conf.update(
        broker_transport=f"{Transport.__module__}:{Transport.__name__}",
        broker_connection_retry_on_startup=True,
        # Such as a Valkey whose disk is full.
        broker_channel_error_retry=True,
        broker_transport_options={
            "queue_order_strategy": FairPriorities,
            "socket_connect_timeout": timeout,
            "socket_keepalive": True,
            "socket_timeout": answer_timeout or settings.answer_timeout_seconds,
            # A connection on which nothing comes back for longer is made anew.
            "health_check_interval": settings.answer_timeout_seconds,
            **(_ONE_TRY if answer_timeout is not None else {}),
        },
        task_queues=[Queue(name, no_ack=True) for name in QUEUES],
        task_default_queue=QUEUES[-1],
        task_ignore_result=True,
        task_acks_late=False,
        task_serializer="json",
        accept_content=["json"],
        worker_prefetch_multiplier=0,
        worker_disable_prefetch=True,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_enable_remote_control=True,
    )
    return app


def _verifying(url: str) -> str:
    """A broker's address, with its certificate checked unless the address itself says how.

    kombu would take any certificate over `rediss://`, and tell only its log.
    """
    parts = urlsplit(url)
    if parts.scheme != "rediss" or _CHECK in parse_qs(parts.query):
        return url
    query = "&".join(filter(None, (parts.query, f"{_CHECK}=required")))
    return parts._replace(query=query).geturl()
