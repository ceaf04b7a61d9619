"""The Celery application, built for a process and never at import."""

from __future__ import annotations

from celery import Celery
from kombu import Queue

from shared.queue.fairness import FairPriorities
from shared.queue.names import QUEUES
from shared.settings import Settings

VISIBILITY_TIMEOUT_SECONDS = 300
HEALTH_CHECK_SECONDS = 10

# kombu would go on for six seconds before it told a sender that the broker is down.
_ONE_TRY = {"max_retries": 1, "interval_start": 0, "interval_step": 0}


def create_celery(settings: Settings, *, answer_timeout: float | None = None) -> Celery:
    """Build the application that sends or runs tasks.

    Args:
        settings: Where the broker is.
        answer_timeout: Seconds after which a command to the broker fails. A sender sets it, so
            that a frozen broker holds up no upload; a worker waits on its queues without end.

    A killed worker's messages come back within seconds: kombu's own sweep of unacknowledged
    messages takes 100 s, the two `unacked_restore` options make it 9.
    """
    app = Celery("hemotriage", broker=settings.broker_url.get_secret_value(), set_as_current=False)
    timeout = settings.connect_timeout_seconds
    app.conf.update(
        broker_connection_retry_on_startup=True,
        broker_transport_options={
            "visibility_timeout": VISIBILITY_TIMEOUT_SECONDS,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "queue_order_strategy": FairPriorities,
            "socket_connect_timeout": timeout,
            "socket_keepalive": True,
            "socket_timeout": answer_timeout,
            # Beyond it, a connection on which nothing comes back is made anew.
            "health_check_interval": HEALTH_CHECK_SECONDS,
            **(_ONE_TRY if answer_timeout is not None else {}),
        },
        task_queues=[Queue(name) for name in QUEUES],
        task_default_queue=QUEUES[-1],
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_serializer="json",
        accept_content=["json"],
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_enable_remote_control=True,
    )
    return app
