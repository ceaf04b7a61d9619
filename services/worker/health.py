"""Asks this host's worker whether it answers: `python -m services.worker.health`."""

from __future__ import annotations

import socket
import sys

from shared.queue.app import create_celery
from shared.settings import Settings

_ANSWER_SECONDS = 5.0


def main() -> int:
    """Exit code 0 if a worker of this host answers a ping through the broker."""
    settings = Settings()
    app = create_celery(settings, answer_timeout=_ANSWER_SECONDS * 2)
    replies = app.control.ping(timeout=_ANSWER_SECONDS)
    host = socket.gethostname()
    return 0 if any(name.endswith(f"@{host}") for reply in replies for name in reply) else 1


if __name__ == "__main__":
    sys.exit(main())
