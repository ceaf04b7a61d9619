"""The relay: sends what the outbox holds and sweeps, over and over, until it is told to stop."""

from __future__ import annotations

import logging
import threading

from sqlalchemy.exc import SQLAlchemyError

from shared.db.session import Sessions
from shared.heartbeat import beat
from shared.jobs.outbox import send_due
from shared.jobs.sweep import sweep
from shared.queue.send import BrokerUnavailableError, Sender
from shared.settings import Settings

_log = logging.getLogger(__name__)
_BATCH = 100


def run_relay(
    settings: Settings, sessions: Sessions, sender: Sender, stop: threading.Event
) -> None:
    """Pass after pass until `stop` is set. A server that is down is waited for, not fatal."""
    while not stop.is_set():
        beat("relay")
        try:
            swept = sweep(
                sessions,
                max_attempts=settings.max_attempts,
                requeue_after_seconds=settings.requeue_after_seconds,
            )
            if swept.requeued or swept.dead or swept.announced:
                _log.info("swept", extra=vars(swept))
            while _relay_batch(sessions, sender) == _BATCH and not stop.is_set():
                pass
        except (BrokerUnavailableError, SQLAlchemyError) as error:
            _log.warning("relay waits for a server", extra={"error": type(error).__name__})
        stop.wait(settings.relay_interval_seconds)


def _relay_batch(sessions: Sessions, sender: Sender) -> int:
    with sessions.begin() as session:
        return send_due(session, sender, limit=_BATCH)
