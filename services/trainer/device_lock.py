"""One run at a time on a device: whoever trains holds its work folder.

A lock of the kernel on a file, and not one of the database: it is held as long as a process has the
file open, so that neither a restart of the database nor a lost connection gives the device to a
second run, and a kill frees it. The child inherits the open file: while it lives, though its
trainer be gone, nobody else begins.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOCK = "device.lock"


@contextmanager
def device_lock(work: Path) -> Iterator[int | None]:
    """Hold a work folder for as long as the block runs.

    Yields:
        The open file, which a child may inherit; None where another process holds the folder.
    """
    work.mkdir(parents=True, exist_ok=True)
    held = os.open(work / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        yield held if _is_taken(held) else None
    finally:
        os.close(held)


def _is_taken(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
