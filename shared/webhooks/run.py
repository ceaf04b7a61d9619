"""The loop that delivers webhooks and pushes; it runs in a thread of the relay."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from sqlalchemy.exc import SQLAlchemyError

from shared.db.session import Sessions
from shared.settings import Settings
from shared.webhooks.deliver import Push, deliver, push_nowhere, take_due
from shared.webhooks.hosts import AllowedHosts

_log = logging.getLogger(__name__)

CALLS = 4
"""Calls at once."""
CALLS_AN_ORIGIN = 2
"""Of these, calls to one host and port: one that hangs so leaves threads for the others."""


def run_webhooks(
    settings: Settings, sessions: Sessions, stop: threading.Event, push: Push = push_nowhere
) -> None:
    """Deliver what is due until `stop` is set; returns when the calls under way have ended.

    A database that is down is waited for. An error that nobody foresaw is logged, and the loop
    goes on.

    Args:
        settings: The allow-list, the secret and the timing.
        sessions: The database, with a connection for each of `CALLS` and one for the loop.
        stop: Ends the loop.
        push: Sends results to destinations.
    """
    with ThreadPoolExecutor(CALLS, thread_name_prefix="webhook") as pool:
        calls = _Calls(settings, sessions, pool, push)
        while not stop.is_set():
            try:
                calls.start_due(stop)
            except Exception as error:
                _tell(error)
            if not calls.wait_for_one(settings.relay_interval_seconds):
                stop.wait(settings.relay_interval_seconds)


class _Calls:
    """The calls under way."""

    def __init__(
        self, settings: Settings, sessions: Sessions, pool: ThreadPoolExecutor, push: Push
    ) -> None:
        self._settings = settings
        self._sessions = sessions
        self._pool = pool
        self._push = push
        self._allowed = AllowedHosts.parse(settings.webhook_allowed_hosts)
        self._origins: dict[Future[None], str] = {}

    def start_due(self, stop: threading.Event) -> None:
        """Start a call for each event that is due, as far as threads are free."""
        while len(self._origins) < CALLS and not stop.is_set():
            busy = Counter(self._origins.values())
            full = [origin for origin, calls in busy.items() if calls >= CALLS_AN_ORIGIN]
            delivery = take_due(self._sessions, self._settings, full=full)
            if delivery is None:
                return
            call = self._pool.submit(
                deliver, self._sessions, self._settings, self._allowed, delivery, self._push
            )
            self._origins[call] = delivery.origin

    def wait_for_one(self, seconds: float) -> bool:
        """Wait for the end of a call, in seconds; False at once where none is under way."""
        if not self._origins:
            return False
        for ended in wait(self._origins, seconds, return_when=FIRST_COMPLETED).done:
            del self._origins[ended]
            _tell(ended.exception())
        return True


def _tell(error: BaseException | None) -> None:
    """Log an error; the event that it met is due again later."""
    if isinstance(error, SQLAlchemyError):
        _log.warning("webhooks wait for the database", extra={"error": type(error).__name__})
    elif error is not None:
        _log.error("a webhook met an unexpected error", exc_info=error)
