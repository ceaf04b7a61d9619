"""One process at a time in a folder; others wait for their turn."""

from __future__ import annotations

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_log = logging.getLogger(__name__)


@contextmanager
def file_lock(path: Path, *, waiting_for: str | None = None) -> Iterator[None]:
    """Hold a lock that ends with the process, however it ends.

    Args:
        path: The file that stands for what is locked; made if it is not there.
        waiting_for: What another process does meanwhile, for a warning of whom it keeps waiting.
    """
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting_for is not None:
                _log.warning("waiting for %s", waiting_for)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
