"""Waits for the ends of jobs: one connection listens for all who wait in a process.

The database tells of an end when its transaction commits (migration 0003). What is told while the
connection is down is lost, so that whoever waits looks for himself every few seconds too.
"""

from __future__ import annotations

import logging
import select
import threading
import time
import uuid
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from shared.db.session import Sessions
from shared.jobs.queries import get_status

_log = logging.getLogger(__name__)

_CHANNEL = "job_ended"
_LOOK_SECONDS = 2.0
_PAUSE_SECONDS = 1.0
_REMEMBERED = 4096


class EndWatch:
    """Wakes those who wait for a job when it ends; safe to share between threads."""

    def __init__(self, engine: Engine, sessions: Sessions) -> None:
        """Prepare; nothing connects before the first call of `wait`."""
        self._engine = engine
        self._sessions = sessions
        self._waiting: defaultdict[uuid.UUID, set[threading.Event]] = defaultdict(set)
        self._running = _Memory()
        self._ended = _Memory()
        self._lock = threading.Lock()
        self._listener: threading.Thread | None = None
        self._is_told = False

    def accepted(self, job_id: uuid.UUID) -> None:
        """Remember a new job: the first who waits for it need not ask whether it has ended.

        An end that was told before this call, and after the job's acceptance, is remembered too.
        """
        with self._lock:
            if self._is_told and job_id not in self._ended:
                self._running.add(job_id)

    def wait(self, job_id: uuid.UUID, seconds: float) -> None:
        """Return once the job has ended, or after so many seconds.

        Raises:
            NotFoundError: There is no such job.
        """
        deadline = time.monotonic() + seconds
        with self._told_of(job_id) as ended:
            while not self._has_ended(job_id):
                left = deadline - time.monotonic()
                if left <= 0:
                    return
                if ended.wait(min(left, _LOOK_SECONDS)):
                    return  # what is told is committed

    def _has_ended(self, job_id: uuid.UUID) -> bool:
        """By what was told, once, and then by the database: an operator may undo an end."""
        with self._lock:
            if self._ended.forget(job_id):
                return True
            if self._running.forget(job_id):
                return False
        return get_status(self._sessions, job_id).is_final

    @contextmanager
    def _told_of(self, job_id: uuid.UUID) -> Iterator[threading.Event]:
        """An event that is set at the job's end."""
        ended = threading.Event()
        with self._lock:
            self._waiting[job_id].add(ended)
            if self._listener is None:
                self._listener = threading.Thread(target=self._run, name="ends", daemon=True)
                self._listener.start()
        try:
            yield ended
        finally:
            with self._lock:
                self._waiting[job_id].discard(ended)
                if not self._waiting[job_id]:
                    del self._waiting[job_id]

    def _run(self) -> None:
        while True:
            try:
                self._listen()
            except (psycopg2.Error, SQLAlchemyError, OSError) as error:
                _log.warning("ends are not told", extra={"error": type(error).__name__})
            except Exception:  # the thread must outlive whatever it meets
                _log.exception("ends are not told")
            time.sleep(_PAUSE_SECONDS)

    def _listen(self) -> None:
        """Wake those who wait, until the connection breaks."""
        connection = self._connect()
        try:
            with connection.cursor() as cursor:
                cursor.execute(f"LISTEN {_CHANNEL}")
            self._is_told = True
            poller = select.poll()
            poller.register(connection.fileno(), select.POLLIN)
            while True:
                poller.poll()
                connection.poll()
                for told in connection.notifies:
                    self._wake(uuid.UUID(told.payload))
                connection.notifies.clear()
        finally:
            with self._lock:
                self._is_told = False
                self._running.clear()
                self._ended.clear()
            connection.close()

    def _connect(self) -> Any:
        """A connection that the pool does not count."""
        pooled = self._engine.raw_connection()
        connection: Any = pooled.driver_connection
        pooled.detach()
        connection.set_session(autocommit=True)
        return connection

    def _wake(self, job_id: uuid.UUID) -> None:
        with self._lock:
            self._running.forget(job_id)
            waiting = self._waiting.get(job_id)
            if waiting is None:
                self._ended.add(job_id)
                return
            for ended in waiting:
                ended.set()


class _Memory(OrderedDict[uuid.UUID, None]):
    """The last so many jobs of a kind."""

    def add(self, job_id: uuid.UUID) -> None:
        self[job_id] = None
        if len(self) > _REMEMBERED:
            self.popitem(last=False)

    def forget(self, job_id: uuid.UUID) -> bool:
        """Whether it was remembered."""
        return self.pop(job_id, self) is None
