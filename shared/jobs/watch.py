"""Waits for the ends of jobs.

The database tells of an end when its transaction commits (migration 0003).
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import OrderedDict

from sqlalchemy import Engine

from shared.db.listen import LOOK_SECONDS, Listener, Waiters
from shared.db.session import Sessions
from shared.jobs.queries import get_status

_CHANNEL = "job_ended"
_REMEMBERED = 4096
_ANYBODY = ""


class EndWatch:
    """Wakes those who wait for a job when it ends; safe to share between threads."""

    def __init__(self, engine: Engine, sessions: Sessions) -> None:
        """Prepare; nothing connects before the first call of `wait`."""
        self._sessions = sessions
        self._waiting: Waiters[uuid.UUID] = Waiters()
        self._running = _Memory()
        self._ended = _Memory()
        self._lock = threading.Lock()
        self._listener = Listener(engine, _CHANNEL, heard=self._hear, lost=self._forget)

    def accepted(self, job_id: uuid.UUID, *, tenant: str) -> None:
        """Remember a new job: the first who waits for it need not ask whether it has ended.

        An end that was told before this call, and after the job's acceptance, is remembered too.
        """
        with self._lock:
            if self._is_told and job_id not in self._ended:
                self._running.add(job_id, tenant)

    def wait(self, job_id: uuid.UUID, seconds: float, *, tenant: str) -> None:
        """Return once the job has ended, or after so many seconds.

        Raises:
            NotFoundError: The tenant has no such job.
        """
        deadline = time.monotonic() + seconds
        with self._waiting.told_of(job_id) as ended:
            self._listener.start()
            while not self._has_ended(job_id, tenant):
                left = deadline - time.monotonic()
                if left <= 0:
                    return
                if ended.wait(min(left, LOOK_SECONDS)):
                    return  # what is told is committed

    def _has_ended(self, job_id: uuid.UUID, tenant: str) -> bool:
        """By what was told, once, and then by the database: an operator may undo an end."""
        with self._lock:
            if self._ended.forget(job_id) is not None:
                return True
            # Whoever waits for another tenant's is told by the database that there is none.
            if self._running.forget(job_id) == tenant:
                return False
        return get_status(self._sessions, job_id, tenant=tenant).is_final

    @property
    def _is_told(self) -> bool:
        return self._listener.is_listening

    def _hear(self, payload: str) -> None:
        self._wake(uuid.UUID(payload))

    def _wake(self, job_id: uuid.UUID) -> None:
        with self._lock:
            self._running.forget(job_id)
            if not self._waiting.wake(job_id):
                self._ended.add(job_id, _ANYBODY)

    def _forget(self) -> None:
        """What was told is no longer all that there is to tell."""
        with self._lock:
            self._running.clear()
            self._ended.clear()


class _Memory(OrderedDict[uuid.UUID, str]):
    """The last so many jobs of a kind, with their tenants."""

    def add(self, job_id: uuid.UUID, tenant: str) -> None:
        self[job_id] = tenant
        if len(self) > _REMEMBERED:
            self.popitem(last=False)

    def forget(self, job_id: uuid.UUID) -> str | None:
        """The tenant of a job that was remembered; None: it was not."""
        return self.pop(job_id, None)
