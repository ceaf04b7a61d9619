"""Starts a worker: `python -m services.worker.main`."""

from __future__ import annotations

import os
import socket
import sys

from services.worker.batcher import Batcher
from services.worker.inference import JobRunner
from services.worker.runtime import Runtime
from services.worker.tasks import register_tasks
from shared.db.session import create_database, create_sessions
from shared.logging import configure_logging
from shared.queue.app import create_celery
from shared.queue.names import QUEUES
from shared.settings import Settings
from shared.storage.s3 import S3Store


def main() -> int:
    """Load the champion, then take jobs until SIGTERM; running jobs finish first."""
    settings = Settings()
    configure_logging(settings.log_level, service="worker")
    threads = settings.worker_threads
    runtime = Runtime(settings)
    runtime.warm_up()
    batcher = Batcher(batch_size=settings.batch_size)
    runner = JobRunner(
        settings,
        create_sessions(create_database(settings, pool_size=threads)),
        S3Store(settings, pool_size=threads),
        runtime,
        batcher,
    )
    app = create_celery(settings)
    register_tasks(app, runner)
    worker = app.Worker(
        hostname=f"worker-{os.getpid()}@{socket.gethostname()}",
        pool="threads",
        concurrency=threads,
        queues=QUEUES,
        loglevel=settings.log_level,
        without_gossip=True,
        without_mingle=True,
    )
    worker.start()
    batcher.close()
    return int(worker.exitcode or 0)


if __name__ == "__main__":
    sys.exit(main())
