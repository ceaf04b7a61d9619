"""`hemotriage relay`: the process that sends what waits in the outbox, sweeps and watches."""

from __future__ import annotations

import signal
import threading

import click

from shared.audit.run import run_sealing
from shared.db.session import create_database, create_sessions
from shared.interop.push import Pushes
from shared.jobs.orphans import run_orphan_sweeps
from shared.jobs.relay import run_relay
from shared.logging import configure_logging
from shared.metrics import serve_metrics
from shared.monitoring.run import run_monitoring
from shared.queue.app import create_celery
from shared.queue.send import CelerySender
from shared.registry.catalogue import Catalogue
from shared.settings import Settings
from shared.storage.s3 import S3Store
from shared.telemetry.tracing import configure_tracing
from shared.webhooks.run import CALLS, run_webhooks

_CONNECTIONS = 6
"""Connections to the database without those of webhooks."""


@click.command("relay")
def command() -> None:
    """Run until SIGTERM or SIGINT; any number of relays may run at once."""
    settings = Settings()
    configure_logging(settings.log_level, service="relay")
    configure_tracing(settings, service="relay")
    serve_metrics(settings)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    celery = create_celery(settings, answer_timeout=settings.connect_timeout_seconds)
    calls_back = bool(settings.webhook_allowed_hosts or settings.result_destinations)
    pool_size = _CONNECTIONS + (CALLS + 1 if calls_back else 0)
    sessions = create_sessions(create_database(settings, pool_size=pool_size))
    storage = S3Store(settings, pool_size=2)
    threads = [
        threading.Thread(
            target=run_orphan_sweeps,
            args=(settings, sessions, storage, stop),
            name="orphans",
            daemon=True,
        ),
        threading.Thread(
            target=run_sealing,
            args=(settings, sessions, storage, stop),
            name="sealing",
            daemon=True,
        ),
        threading.Thread(
            target=run_monitoring,
            args=(settings, sessions, Catalogue(settings, sessions), stop),
            name="monitoring",
            daemon=True,
        ),
    ]
    if calls_back:
        threads.append(
            threading.Thread(
                target=run_webhooks,
                args=(settings, sessions, stop, Pushes(settings, sessions)),
                name="webhooks",
                daemon=True,
            )
        )
    for thread in threads:
        thread.start()
    run_relay(settings, sessions, CelerySender(celery), stop)
    for thread in threads:
        # A call to a receiver may take that long; what is cut off is sent again.
        thread.join(settings.connect_timeout_seconds + settings.answer_timeout_seconds)
