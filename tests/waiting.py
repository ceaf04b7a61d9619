"""Waiting for what another process does."""

from __future__ import annotations

import time
from collections.abc import Callable


def eventually(
    holds: Callable[[], object], seconds: float = 120, *, meanwhile: Callable[[], object] = bool
) -> None:
    """Wait until something holds, doing `meanwhile` between one look and the next."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        meanwhile()
        time.sleep(0.02)
