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
from collections import defaultdict
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


class EndWatch:
    """Wakes those who wait for a job when it ends; safe to share between threads."""

    def __init__(self, engine: Engine, sessions: Sessions) -> None:
        """Prepare; nothing connects before the first call of `wait`."""
        self._engine = engine
        self._sessions = sessions
        self._waiting: defaultdict[uuid.UUID, set[threading.Event]] = defaultdict(set)
        self._lock = threading.Lock()
        self._listener: threading.Thread | None = None

    def wait(self, job_id: uuid.UUID, seconds: float) -> None:
        """Return once the job has ended, or after so many seconds.

        Raises:
            NotFoundError: There is no such job.
        """
        deadline = time.monotonic() + seconds
        with self._told_of(job_id) as ended:
            while not get_status(self._sessions, job_id).is_final:
                left = deadline - time.monotonic()
                if left <= 0:
                    return
                if ended.wait(min(left, _LOOK_SECONDS)):
                    return  # what is told is committed

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
            poller = select.poll()
            poller.register(connection.fileno(), select.POLLIN)
            while True:
                poller.poll()
                connection.poll()
                for told in connection.notifies:
                    self._wake(uuid.UUID(told.payload))
                connection.notifies.clear()
        finally:
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
            for ended in self._waiting.get(job_id, ()):
                ended.set()
