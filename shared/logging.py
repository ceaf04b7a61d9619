"""Structured logs: one JSON object a line on standard error.

What is logged is ids, codes, counts and durations; never a patient's data, a file name or a key.
"""

from __future__ import annotations

import logging
import sys

from pythonjsonlogger.json import JsonFormatter


def configure_logging(level: str, *, service: str) -> None:
    """Send the logs of this process to standard error.

    Args:
        level: Least severe level that is written.
        service: Name of the process, in every line.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter(
            "%(asctime)s %(levelname)s %(name)s %(message)s",
            rename_fields={"asctime": "at", "levelname": "level", "name": "logger"},
            static_fields={"service": service},
        )
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # Task arguments and connection addresses are noise at this level, and may hold secrets.
    for name in ("celery.worker.strategy", "celery.app.trace", "httpx", "alembic", "highdicom"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Its warnings quote what a peer sent; whoever speaks with one tells what became of it.
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
