"""The loop that looks for drift; it runs in a thread of the relay."""

from __future__ import annotations

import logging
import threading

from sqlalchemy.exc import SQLAlchemyError

from shared.db.session import Sessions
from shared.models.registry import Versions
from shared.monitoring.windows import look
from shared.settings import Settings

_log = logging.getLogger(__name__)


def run_monitoring(
    settings: Settings, sessions: Sessions, registry: Versions, stop: threading.Event
) -> None:
    """Look once in each interval until `stop` is set; what fails is logged and done later.

    Args:
        settings: The interval, the window and its bounds.
        sessions: The database, with one connection for the loop.
        registry: Has the cards with the references.
        stop: Ends the loop.
    """
    while not stop.is_set():
        try:
            look(settings, sessions, registry)
        except SQLAlchemyError as error:
            _log.warning("drift is looked for later", extra={"error": type(error).__name__})
        except Exception:  # the thread must outlive whatever one look meets
            _log.exception("drift is looked for later")
        stop.wait(settings.monitoring_interval_seconds)
