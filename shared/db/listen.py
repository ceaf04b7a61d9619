"""Hears what the database tells: one connection listens for all who wait in a process.

What is told while that connection is down is lost, so that whoever waits looks for himself every
few seconds too.
"""

from __future__ import annotations

import logging
import select
import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import psycopg2
from sqlalchemy import Engine, event
from sqlalchemy.exc import SQLAlchemyError

_log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
"""How often those who wait look for themselves."""

_PAUSE_SECONDS = 1.0
"""After a broken connection, and how late the end of the engine may be noticed."""

Key = TypeVar("Key", bound=Hashable)


class Listener:
    """Hears what is told on one channel; safe to share between threads."""

    def __init__(
        self,
        engine: Engine,
        channel: str,
        *,
        heard: Callable[[str], object],
        lost: Callable[[], object] = bool,
    ) -> None:
        """Prepare; nothing connects before `start`.

        Args:
            engine: Makes the connection, which its pool does not count.
            channel: A name in lower case.
            heard: Called with each payload once its transaction is committed, from a thread of the
                listener.
            lost: Called when the connection is down, from the same thread: from then on, and until
                `is_listening`, nothing is heard.
        """
        self._engine = engine
        self._channel = channel
        self._heard = heard
        self._lost = lost
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._ended = threading.Event()
        self.is_listening = False

    def start(self) -> None:
        """Listen from now on, until the engine is disposed of; a second call changes nothing."""
        with self._starting:
            if self._thread is None:
                event.listen(self._engine, "engine_disposed", self._end)
                name = f"listen-{self._channel}"
                self._thread = threading.Thread(target=self._run, name=name, daemon=True)
                self._thread.start()

    def _end(self, engine: Engine) -> None:
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self._listen()
            except (psycopg2.Error, SQLAlchemyError, OSError) as error:
                told = {"channel": self._channel, "error": type(error).__name__}
                _log.warning("nothing is told", extra=told)
            except Exception:  # the thread must outlive whatever it meets
                _log.exception("nothing is told", extra={"channel": self._channel})
            self._ended.wait(_PAUSE_SECONDS)

    def _listen(self) -> None:
        """Pass on what is told, until the connection breaks or the engine is disposed of."""
        connection = self._connect()
        try:
            with connection.cursor() as cursor:
                cursor.execute(f"LISTEN {self._channel}")
            self.is_listening = True
            poller = select.poll()
            poller.register(connection.fileno(), select.POLLIN)
            while not self._ended.is_set():
                if not poller.poll(_PAUSE_SECONDS * 1000):
                    continue
                connection.poll()
                for told in connection.notifies:
                    self._heard(told.payload)
                connection.notifies.clear()
        finally:
            self.is_listening = False
            self._lost()
            connection.close()

    def _connect(self) -> Any:
        """A connection that the pool does not count."""
        pooled = self._engine.raw_connection()
        connection: Any = pooled.driver_connection
        pooled.detach()
        connection.set_session(autocommit=True)
        return connection


class Waiters(dict[Key, set[threading.Event]], Generic[Key]):
    """Those who wait in a process, by what they wait for; safe to share between threads."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    @contextmanager
    def told_of(self, key: Key) -> Iterator[threading.Event]:
        """An event that `wake` sets, for as long as the block runs."""
        told = threading.Event()
        with self._lock:
            self.setdefault(key, set()).add(told)
        try:
            yield told
        finally:
            with self._lock:
                self[key].discard(told)
                if not self[key]:
                    del self[key]

    def wake(self, key: Key) -> bool:
        """Wake all who wait for it; whether there was anybody."""
        with self._lock:
            waiting = self.get(key, set())
            for told in waiting:
                told.set()
            return bool(waiting)
