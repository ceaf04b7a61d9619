"""What this worker has in its hands: its claims, and the leases that it renews for them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from shared.db.session import Sessions
from shared.jobs.claim import Claim, renew

_log = logging.getLogger(__name__)

_BEATS_A_LEASE = 4


class Hands:
    """The claims of one worker process; safe to share between threads."""

    def __init__(self) -> None:
        self._claims: set[Claim] = set()
        self._lock = threading.Lock()
        self.closed = False

    @contextmanager
    def holding(self, claim: Claim) -> Iterator[None]:
        """Hold a claim within the block."""
        with self._lock:
            self._claims.add(claim)
        try:
            yield
        finally:
            with self._lock:
                self._claims.discard(claim)

    def close(self) -> list[Claim]:
        """Take nothing more; returns what is held now."""
        self.closed = True
        return self.claims()

    def claims(self) -> list[Claim]:
        """What is held now."""
        with self._lock:
            return list(self._claims)


def start_heartbeat(hands: Hands, sessions: Sessions, *, lease_seconds: float) -> None:
    """Renew the leases of what is held, four times a lease, for as long as the process lives."""
    interval = lease_seconds / _BEATS_A_LEASE
    forever = threading.Event()

    def run() -> None:
        while not forever.wait(interval):
            try:
                renew(sessions, hands.claims(), lease_seconds=lease_seconds)
            except SQLAlchemyError as error:
                _log.warning("no heartbeat", extra={"error": type(error).__name__})
            except Exception:  # without this thread the worker would lose all that it takes
                _log.exception("no heartbeat")

    threading.Thread(target=run, name="heartbeat", daemon=True).start()
