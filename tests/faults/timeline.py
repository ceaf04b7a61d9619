"""When results came, by our own clock."""

from __future__ import annotations

import threading
import time
from contextlib import closing, suppress
from typing import Any

import psycopg2

_TIMELINE_SECONDS = 0.05
_SETTLE_SECONDS = 0.15


class Timeline:
    """Notes, by the monotonic clock, how many results there are."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._points: list[tuple[float, int]] = [(0.0, 0)]
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def is_running(self) -> bool:
        """Whether it was started."""
        return self._thread is not None

    def start(self) -> None:
        """Watch the database in a thread."""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the watch."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def first_after(self, moment: float) -> float | None:
        """Seconds from a moment to the first result that came after it; None so far.

        What is seen at once after the moment may have come just before it, and does not count.
        """
        settled = moment + _SETTLE_SECONDS
        before = max(count for at, count in self._points if at <= settled)
        later = (at for at, count in self._points if at > settled and count > before)
        first = next(later, None)
        return None if first is None else first - moment

    def _run(self) -> None:
        while not self._stop.is_set():
            with suppress(psycopg2.Error), closing(psycopg2.connect(self._dsn)) as connection:
                connection.autocommit = True
                self._watch(connection)
            self._stop.wait(_TIMELINE_SECONDS)

    def _watch(self, connection: Any) -> None:
        with connection.cursor() as cursor:
            while not self._stop.is_set():
                cursor.execute("SELECT count(*) FROM results")
                count = cursor.fetchone()[0]
                if count != self._points[-1][1]:
                    self._points.append((time.monotonic(), count))
                self._stop.wait(_TIMELINE_SECONDS)
