"""Starts a worker: `python -m services.worker.main`."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from typing import Any

from celery import signals
from sqlalchemy.exc import SQLAlchemyError

from services.worker.batcher import Batcher
from services.worker.hands import Hands, start_heartbeat
from services.worker.inference import JobRunner
from services.worker.isolation import PATIENCE_SECONDS, Isolation
from services.worker.metrics import show_hands
from services.worker.patience import Patience
from services.worker.runtime import Runtime
from services.worker.tasks import register_tasks
from services.worker.threads import create_pool
from services.worker.triage import Triage
from services.worker.watchdog import Watchdog, start_last_resort
from shared.db.session import Sessions, create_database, create_sessions
from shared.jobs.claim import Claim
from shared.jobs.complete import hand_back
from shared.logging import configure_logging
from shared.memory import share_one_heap
from shared.metrics import serve_metrics
from shared.queue.app import create_celery
from shared.registry.catalogue import Catalogue
from shared.scheduling import let_others_finish
from shared.settings import Settings
from shared.storage.s3 import S3Store
from shared.telemetry.tracing import configure_tracing

_log = logging.getLogger(__name__)

_LEAVING_SECONDS = 2.0
_HOUSEKEEPERS = 3  # that use the database besides jobs: heartbeat, watchdog, follower of aliases


def main() -> int:
    """Load the champion, then take jobs until SIGTERM; what runs then finishes first."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    settings = Settings()
    configure_logging(settings.log_level, service="worker")
    configure_tracing(settings, service="worker")
    share_one_heap()
    let_others_finish()
    threads = settings.worker_threads
    database = create_database(settings, pool_size=threads + _HOUSEKEEPERS)
    sessions = create_sessions(database)
    storage = S3Store(settings, pool_size=threads + 1)
    stopping = threading.Event()
    patience = Patience(seconds=PATIENCE_SECONDS, stopping=stopping)
    hands = Hands()
    leave = _Leave(settings, sessions, hands)
    watchdog = Watchdog(limit_seconds=settings.work_limit_seconds, on_overdue=leave.hung)
    start_last_resort(2 * settings.work_limit_seconds)
    batcher = Batcher(watchdog, batch_size=settings.batch_size)
    runtime = Runtime(settings, Catalogue(settings, sessions, storage))
    runtime.warm_up()
    runtime.follow(stopping)
    together = Triage(storage, runtime, batcher, watchdog, patience, max_pixels=settings.max_pixels)
    isolation = Isolation(settings)
    runner = JobRunner(settings, sessions, hands, patience, together=together, alone=isolation)
    start_heartbeat(hands, sessions, lease_seconds=settings.lease_seconds)
    show_hands(hands)
    serve_metrics(settings)

    def stop_taking_jobs(**_: Any) -> None:
        stopping.set()
        batcher.close()
        leave.in_time()

    signals.worker_shutting_down.connect(stop_taking_jobs, weak=False)
    exit_code = _take_jobs(settings, runner)
    isolation.close()
    return exit_code


def _take_jobs(settings: Settings, runner: JobRunner) -> int:
    # Celery says "Warm shutdown" to a terminal, past the log.
    celery_worker: Any = importlib.import_module("celery.apps.worker")
    celery_worker.safe_say = lambda *_: None
    app = create_celery(settings)
    register_tasks(app, runner)
    worker = app.Worker(
        hostname=f"worker-{os.getpid()}@{socket.gethostname()}",
        pool=create_pool(app),
        concurrency=settings.worker_threads,
        queues=settings.worker_queues.split(","),
        loglevel=settings.log_level,
        quiet=True,
        without_gossip=True,
        without_mingle=True,
    )
    worker.start()
    return int(worker.exitcode or 0)


class _Leave:
    """The ways out of a worker that cannot finish: its jobs go back, then the process ends."""

    def __init__(self, settings: Settings, sessions: Sessions, hands: Hands) -> None:
        self._settings = settings
        self._sessions = sessions
        self._hands = hands

    def hung(self, suspects: Sequence[Claim]) -> None:
        """Leave because work on these claims hangs."""
        try:
            _log.error("work hangs", extra={"job_ids": [str(held.job_id) for held in suspects]})
            self._hand_back(suspects)
        finally:
            os._exit(os.EX_SOFTWARE)

    def in_time(self) -> None:
        """Leave, at the latest, when the grace is over; returns at once."""
        grace = self._settings.worker_grace_seconds
        for seconds, leave in (
            (max(grace - _LEAVING_SECONDS, grace / 2), self._grace_is_over),
            (grace, lambda: os._exit(os.EX_OK)),  # the database may not answer
        ):
            timer = threading.Timer(seconds, leave)
            timer.daemon = True
            timer.start()

    def _grace_is_over(self) -> None:
        try:
            _log.warning("the grace is over", extra={"jobs": len(self._hands.claims())})
            self._hand_back(())
        finally:
            os._exit(os.EX_OK)

    def _hand_back(self, suspects: Sequence[Claim]) -> None:
        limit = self._settings.max_attempts
        try:
            hand_back(self._sessions, self._hands.close(), suspects=suspects, max_attempts=limit)
        except SQLAlchemyError as error:
            # Their leases run out.
            _log.error("jobs not handed back", extra={"error": type(error).__name__})


if __name__ == "__main__":
    sys.exit(main())
