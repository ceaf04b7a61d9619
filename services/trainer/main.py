"""Starts the trainer service: `python -m services.trainer.main`.

Training runs are not taken from the service yet: they are started by `hemotriage study`. Until the
queue of training runs is there, this process holds the service's place and waits to be stopped.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading

from shared.heartbeat import beat
from shared.logging import configure_logging
from shared.settings import Settings

_TURN_SECONDS = 10.0


def main() -> int:
    """Wait for SIGTERM or SIGINT."""
    settings = Settings()
    configure_logging(settings.log_level, service="trainer")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    logging.getLogger(__name__).info("no queue of training runs yet; use `hemotriage study`")
    while not stop.wait(_TURN_SECONDS):
        beat("trainer")
    return 0


if __name__ == "__main__":
    sys.exit(main())
