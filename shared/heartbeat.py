"""Tells from outside whether a process' loop still turns: `python -m shared.heartbeat NAME`.

For processes that answer no request. The loop touches a file at each turn; the check looks at the
file's age.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

STALE_SECONDS = 60.0


def beat(name: str) -> None:
    """Say that the loop of the process `name` has turned."""
    _path(name).touch()


def is_alive(name: str, *, stale_seconds: float = STALE_SECONDS) -> bool:
    """Whether the loop has turned within the last `stale_seconds`."""
    try:
        return time.time() - _path(name).stat().st_mtime < stale_seconds
    except FileNotFoundError:
        return False


def _path(name: str) -> Path:
    return Path(tempfile.gettempdir()) / f"hemotriage-{os.getuid()}-{name}.alive"


if __name__ == "__main__":
    sys.exit(0 if is_alive(sys.argv[1]) else 1)
