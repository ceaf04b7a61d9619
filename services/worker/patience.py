"""Waits for a server that is away, in the place where it is needed.

A worker that gave its job back at each refused connection would run through the whole queue while
a server restarts. One that waits takes no further job, and goes on at once when the server is back.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import SQLAlchemyError

from shared.errors import TransientError
from shared.outage import is_outage

Answer = TypeVar("Answer")

_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 1.0

_log = logging.getLogger(__name__)


class Patience:
    """Repeats what an outage made fail, until it works or its time is over."""

    def __init__(self, *, seconds: float, stopping: threading.Event) -> None:
        """Set the bounds.

        Args:
            seconds: After which the outage is the caller's again.
            stopping: Ends the waiting at once when it is set.
        """
        self._seconds = seconds
        self._stopping = stopping

    def __call__(self, ask: Callable[[], Answer]) -> Answer:
        """Ask until there is an answer; what is asked must bear being done twice.

        Raises:
            TransientError: Of the last try.
            SQLAlchemyError: Of the last try.
        """
        deadline = time.monotonic() + self._seconds
        pause = _FIRST_PAUSE_SECONDS
        told = False
        while True:
            try:
                return ask()
            except (TransientError, SQLAlchemyError) as error:
                if not is_outage(error) or time.monotonic() > deadline:
                    raise
                if not told:
                    told = True
                    _log.warning("waiting for a server", extra={"error": type(error).__name__})
                if self._stopping.wait(pause):
                    raise
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
