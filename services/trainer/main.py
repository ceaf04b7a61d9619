"""Starts the trainer service: `python -m services.trainer.main`.

It imports data sets in a thread, and trains in a process of its own for each run. It yields to all
others on its machine: neither slows triage down.
"""

from __future__ import annotations

import os
import signal
import threading

from services.trainer.imports import run_imports
from services.trainer.runner import Runner
from shared.db.listen import Listener
from shared.db.session import create_database, create_sessions
from shared.heartbeat import beat
from shared.logging import configure_logging
from shared.settings import Settings
from shared.storage.s3 import S3Store

_NICENESS = 10
_GRACE_SECONDS = 10.0
_CONNECTIONS = 4  # runner, imports with their heartbeat, and the listener's for a moment


def main() -> None:
    """Train until SIGTERM; what runs then goes on from its last epoch with the next trainer."""
    settings = Settings()
    configure_logging(settings.log_level, service="trainer")
    os.nice(_NICENESS)
    stopping = threading.Event()
    database = create_database(settings, pool_size=_CONNECTIONS)
    sessions = create_sessions(database)
    runner = Runner(settings, sessions, stopping, turned=lambda: beat("trainer"))

    def stop(*_: object) -> None:
        stopping.set()
        runner.wake()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    storage = S3Store(settings, pool_size=_CONNECTIONS)
    importing = threading.Thread(
        target=run_imports, args=(settings, sessions, storage, stopping), daemon=True
    )
    importing.start()
    Listener(database, "training_requested", heard=runner.wake).start()
    runner.run()
    importing.join(_GRACE_SECONDS)
    # A search for overlaps, whose import was handed back, would be waited for.
    os._exit(os.EX_OK)


if __name__ == "__main__":
    main()
