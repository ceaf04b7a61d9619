"""Ends work that goes on for too long."""

from __future__ import annotations

import faulthandler
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from shared.jobs.claim import Claim

_TICKS_A_LIMIT = 20
_DELAYS_A_LIMIT = 4
_STANDARD_ERROR = 2


class Watchdog:
    """Watches pieces of work, each of which may take so many seconds.

    Time is counted in its own turns, so that a process which was frozen for a while does not find
    all of its work overdue.
    """

    def __init__(
        self, *, limit_seconds: float, on_overdue: Callable[[Sequence[Claim]], None]
    ) -> None:
        """Start watching.

        Args:
            limit_seconds: The limit of one piece of work.
            on_overdue: Called once, from the watchdog's thread, with the claims of the piece of
                work that is overdue. It should end the process.
        """
        self._limit_seconds = limit_seconds
        self._on_overdue = on_overdue
        self._lock = threading.Lock()
        self._begun: dict[object, tuple[int, Sequence[Claim]]] = {}
        self._turn = 0
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    @contextmanager
    def watch(self, claims: Sequence[Claim]) -> Iterator[None]:
        """Watch the block, which works on these claims."""
        piece = object()
        with self._lock:
            self._begun[piece] = (self._turn, claims)
        try:
            yield
        finally:
            with self._lock:
                del self._begun[piece]

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            pause.wait(self._limit_seconds / _TICKS_A_LIMIT)
            if overdue := self._next_turn():
                self._on_overdue(overdue)
                return

    def _next_turn(self) -> Sequence[Claim] | None:
        """The claims of the first piece of work that is overdue."""
        with self._lock:
            self._turn += 1
            for begun, claims in self._begun.values():
                if self._turn - begun > _TICKS_A_LIMIT:
                    return claims
        return None


def start_last_resort(limit_seconds: float) -> None:
    """End the process with a traceback when no thread of it has run for so many seconds.

    Native code that hangs with the interpreter's lock keeps the watchdog from acting. What acts
    here is a thread of `faulthandler`, which needs no lock; it is put off four times a limit.
    """

    def run() -> None:
        pause = threading.Event()
        while True:
            faulthandler.dump_traceback_later(limit_seconds, exit=True, file=_STANDARD_ERROR)
            pause.wait(limit_seconds / _DELAYS_A_LIMIT)

    threading.Thread(target=run, name="last-resort", daemon=True).start()
