"""Waits for the ends of explanations, as `shared.jobs.watch` does for those of jobs."""

from __future__ import annotations

import time

from sqlalchemy import Engine

from shared.db.listen import LOOK_SECONDS, Listener, Waiters
from shared.db.session import Sessions
from shared.explanations.queue import read
from shared.explanations.states import ExplanationState, Subject

_CHANNEL = "explanation_ended"


class ExplanationWatch:
    """Wakes those who wait for an explanation when it ends; safe to share between threads."""

    def __init__(self, engine: Engine, sessions: Sessions) -> None:
        """Prepare; nothing connects before the first call of `wait`."""
        self._sessions = sessions
        self._waiting: Waiters[str] = Waiters()
        self._listener = Listener(engine, _CHANNEL, heard=self._waiting.wake)

    def wait(self, subject: Subject, seconds: float, *, tenant: str) -> ExplanationState:
        """Read an explanation at its end, or after so many seconds.

        Raises:
            NotFoundError: The tenant has not asked for it.
        """
        deadline = time.monotonic() + seconds
        with self._waiting.told_of(str(subject)) as ended:
            self._listener.start()
            while True:
                state = read(self._sessions, subject, tenant=tenant)
                left = deadline - time.monotonic()
                if state.status.is_final or left <= 0:
                    return state
                ended.wait(min(left, LOOK_SECONDS))
