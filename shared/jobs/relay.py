"""The relay: sends what the outbox holds and sweeps, over and over, until it is told to stop."""

from __future__ import annotations

import logging
import threading
import time

from sqlalchemy.exc import SQLAlchemyError

from shared.db.session import Sessions
from shared.heartbeat import beat
from shared.jobs.outbox import send_due
from shared.jobs.sweep import announce_lost, sweep_expired, sweep_leases
from shared.queue.send import BrokerUnavailableError, CelerySender
from shared.settings import Settings

_log = logging.getLogger(__name__)
_BATCH = 100


def run_relay(
    settings: Settings, sessions: Sessions, broker: CelerySender, stop: threading.Event
) -> None:
    """Pass after pass until `stop` is set. A server that is down is waited for, not fatal."""
    # While the database was away no worker could renew its leases: they get time to do so first.
    renewal_seconds = settings.lease_seconds / 2
    trusted_from = time.monotonic() + renewal_seconds
    while not stop.is_set():
        try:
            beat("relay")
            if time.monotonic() >= trusted_from:
                _sweep_leases(settings, sessions)
            sweep_expired(sessions)
        except Exception as error:  # the relay must outlive whatever one pass meets
            trusted_from = time.monotonic() + renewal_seconds
            _tell(error)
        try:
            _send(settings, sessions, broker, stop)
        except Exception as error:
            _tell(error)
        stop.wait(settings.relay_interval_seconds)


def _sweep_leases(settings: Settings, sessions: Sessions) -> None:
    found = sweep_leases(
        sessions, max_attempts=settings.max_attempts, lease_seconds=settings.lease_seconds
    )
    if found.requeued or found.dead:
        _log.warning("leases ran out", extra=vars(found))


def _send(
    settings: Settings, sessions: Sessions, broker: CelerySender, stop: threading.Event
) -> None:
    lost = announce_lost(sessions, broker, after_seconds=settings.requeue_after_seconds)
    if lost:
        _log.warning("messages were lost", extra={"announced": lost})
    while not stop.is_set():
        with sessions.begin() as session:
            if send_due(session, broker, limit=_BATCH) < _BATCH:
                return


def _tell(error: Exception) -> None:
    if isinstance(error, (BrokerUnavailableError, SQLAlchemyError)):
        _log.warning("the relay waits for a server", extra={"error": type(error).__name__})
    else:
        _log.error("a pass of the relay failed", exc_info=error)
