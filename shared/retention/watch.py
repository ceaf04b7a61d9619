"""The loop of the retention process: erases what is asked for, and purges now and then."""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time

from sqlalchemy.exc import SQLAlchemyError

from shared.db.session import Sessions
from shared.errors import TransientError
from shared.heartbeat import beat
from shared.retention.erase import carry_out_all
from shared.retention.objects import remove_due
from shared.retention.policy import read_retention_policy
from shared.retention.purge import Purge
from shared.settings import Settings
from shared.storage import ObjectStore

HEARTBEAT = "retention"
LOOK_SECONDS = 1.0
"""How often it looks whether an erasure was asked for."""

_log = logging.getLogger(__name__)


class _StoppedError(Exception):
    """The pass is left between two batches; the next process goes on."""


def watch(
    settings: Settings, sessions: Sessions, storage: ObjectStore, stop: threading.Event
) -> None:
    """Go on until `stop` is set; what fails is logged and done later.

    Args:
        settings: The policy, the interval of purges, the grace of late objects.
        sessions: The database.
        storage: The object store.
        stop: Ends it, after the batch that is under way.
    """
    grace = dt.timedelta(seconds=settings.orphan_grace_seconds)

    def turned() -> None:
        beat(HEARTBEAT)
        if stop.is_set():
            raise _StoppedError

    def between() -> None:
        """A pass may take hours, and a patient does not wait for it."""
        turned()
        carry_out_all(sessions, storage, again_after=grace, turned=turned)

    purge_at = time.monotonic()
    while not stop.is_set():
        try:
            between()
            remove_due(sessions, storage, turned=turned)
            if time.monotonic() >= purge_at:
                purge_at = time.monotonic() + settings.retention_interval_seconds
                policy = read_retention_policy(settings.retention_policy)
                found = Purge(sessions, storage, again_after=grace, turned=between)(policy)
                removed = {one.kind: one.removed for one in found if one.removed}
                _log.info("purged", extra={"removed": removed})
        except _StoppedError:
            return
        except (TransientError, SQLAlchemyError) as error:
            _log.warning("retention waits for a server", extra={"error": type(error).__name__})
        except Exception:  # the loop must outlive whatever one pass meets
            _log.exception("a pass of retention failed")
        stop.wait(LOOK_SECONDS)
