"""Starts the trainer service: `python -m services.trainer.main`.

It imports data sets in one thread and judges versions in another, and trains in a process of its
own for each run. It yields to all others on its machine: nothing of it slows triage down.
"""

from __future__ import annotations

import os
import signal
import threading

from services.trainer.gating import run_gates
from services.trainer.imports import run_imports
from services.trainer.runner import Runner
from shared.db.listen import Listener
from shared.db.session import create_database, create_sessions
from shared.heartbeat import beat
from shared.logging import configure_logging
from shared.metrics import serve_metrics
from shared.settings import Settings
from shared.storage.s3 import S3Store

_NICENESS = 10
_GRACE_SECONDS = 10.0
_CONNECTIONS = 6
"""Runner, imports and gates with their heartbeats, and the listener's for a moment."""


def main() -> None:
    """Train until SIGTERM; what runs then goes on from its last epoch with the next trainer."""
    settings = Settings()
    configure_logging(settings.log_level, service="trainer")
    serve_metrics(settings)
    os.nice(_NICENESS)
    stopping = threading.Event()
    database = create_database(settings, pool_size=_CONNECTIONS)
    sessions = create_sessions(database)
    storage = S3Store(settings, pool_size=_CONNECTIONS)
    runner = Runner(settings, sessions, storage, stopping, turned=lambda: beat("trainer"))

    def stop(*_: object) -> None:
        stopping.set()
        runner.wake()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    beside = [
        threading.Thread(target=run, args=(settings, sessions, storage, stopping), daemon=True)
        for run in (run_imports, run_gates)
    ]
    for thread in beside:
        thread.start()
    Listener(database, "training_requested", heard=runner.wake).start()
    runner.run()
    for thread in beside:
        thread.join(_GRACE_SECONDS)
    # A search for overlaps, whose import was handed back, would be waited for; a judgement too.
    os._exit(os.EX_OK)


if __name__ == "__main__":
    main()
