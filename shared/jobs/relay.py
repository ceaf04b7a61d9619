"""The relay: sends what the outbox holds and sweeps, over and over, until it is told to stop."""

from __future__ import annotations

import logging
import threading
import time

from sqlalchemy.exc import SQLAlchemyError

from shared.db.session import Sessions
from shared.heartbeat import beat
from shared.jobs import relay_metrics as metrics
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
        with metrics.PASS_SECONDS.time():
            try:
                beat("relay")
                if time.monotonic() >= trusted_from:
                    _sweep_leases(settings, sessions)
                metrics.EXPIRED.inc(sweep_expired(sessions))
            except Exception as error:  # the relay must outlive whatever one pass meets
                trusted_from = time.monotonic() + renewal_seconds
                _tell("sweep", error)
            else:
                metrics.count_part("sweep", is_done=True)
            try:
                _send(settings, sessions, broker, stop)
            except Exception as error:
                _tell("send", error)
            else:
                metrics.count_part("send", is_done=True)
        stop.wait(settings.relay_interval_seconds)


def _sweep_leases(settings: Settings, sessions: Sessions) -> None:
    found = sweep_leases(
        sessions, max_attempts=settings.max_attempts, lease_seconds=settings.lease_seconds
    )
    metrics.count_leases(requeued=found.requeued, dead=found.dead)
    if found.requeued or found.dead:
        _log.warning("leases ran out", extra=vars(found))


def _send(
    settings: Settings, sessions: Sessions, broker: CelerySender, stop: threading.Event
) -> None:
    lost = announce_lost(sessions, broker, after_seconds=settings.requeue_after_seconds)
    metrics.ANNOUNCED_AGAIN.inc(lost)
    if lost:
        _log.warning("messages were lost", extra={"announced": lost})
    while not stop.is_set():
        with sessions.begin() as session:
            sent = send_due(session, broker, limit=_BATCH)
        metrics.SENT.inc(sent)
        if sent < _BATCH:
            return


def _tell(part: str, error: Exception) -> None:
    metrics.count_part(part, is_done=False)
    if isinstance(error, (BrokerUnavailableError, SQLAlchemyError)):
        _log.warning("the relay waits for a server", extra={"error": type(error).__name__})
    else:
        _log.error("a pass of the relay failed", exc_info=error)
