"""Imports data sets, one after the other, until the trainer stops.

The work is done in a thread of its own: the one that took it renews the lease, and leaves at once
when the trainer stops.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Callable
from functools import partial

from sqlalchemy.exc import SQLAlchemyError

from services.trainer.ingest import Ingest
from shared.clock import utc_now
from shared.datasets.claim import Completion, claim, complete, give_up, hand_back, renew
from shared.datasets.queries import open_datasets
from shared.datasets.states import DatasetClaim
from shared.datasets.uploads import remove_upload, sweep_uploads
from shared.db.listen import LOOK_SECONDS
from shared.db.session import Sessions
from shared.errors import TransientError
from shared.outage import is_outage
from shared.settings import Settings
from shared.storage import ObjectStore

_log = logging.getLogger(__name__)

_BEATS_A_LEASE = 4
_TURN_SECONDS = 0.2
_RETRY_SECONDS = 1.0

Ending = Callable[[], object]


class ImportLostError(Exception):
    """Another trainer has it, or this one stops."""


class DatabaseAwayError(TransientError):
    """The database does not answer."""

    code = "database_unavailable"


def run_imports(
    settings: Settings,
    sessions: Sessions,
    storage: ObjectStore,
    stop: threading.Event,
    *,
    look_seconds: float = LOOK_SECONDS,
) -> None:
    """Take what waits for an import, and whatever comes, until `stop` is set.

    What runs then is handed back, without counting as a failure; its thread may go on for a while,
    and ends with the process.

    Args:
        settings: The lease, the limits, and the trainer's folder.
        sessions: The database; two connections are used at once.
        storage: The object store.
        stop: Ends it.
        look_seconds: How often it looks whether anything waits.
    """
    importer = _Importer(settings, sessions, storage, stop)
    while not stop.is_set():
        try:
            worked = importer.take_one()
            if not worked:
                importer.tidy()
        except (TransientError, SQLAlchemyError) as error:
            worked = False
            _log.warning("imports wait for a server", extra={"error": type(error).__name__})
        except Exception:  # the thread must outlive whatever it meets
            worked = False
            _log.exception("imports wait")
        if not worked:
            stop.wait(look_seconds)


class _Work:
    """An import in its thread."""

    def __init__(self, held: DatasetClaim, end: Callable[[_Work], Ending]) -> None:
        self.held = held
        self.is_lost = False
        self.ending: Ending | None = None
        self._end = end
        self.thread = threading.Thread(target=self._run, name=f"import-{held.id}", daemon=True)

    def carry_on(self) -> None:
        if self.is_lost:
            raise ImportLostError

    def _run(self) -> None:
        self.ending = self._end(self)


class _Importer:
    """Takes imports, one at a time."""

    def __init__(
        self,
        settings: Settings,
        sessions: Sessions,
        storage: ObjectStore,
        stop: threading.Event,
    ) -> None:
        self._settings = settings
        self._sessions = sessions
        self._storage = storage
        self._stop = stop
        self._ingest = Ingest(settings, sessions, storage)
        self._worker = f"trainer-{os.getpid()}@{socket.gethostname()}"
        self._tidy_at = 0.0

    def take_one(self) -> bool:
        """Import what has waited longest; False where nothing waits."""
        held = claim(
            self._sessions,
            worker=self._worker,
            lease_seconds=self._settings.lease_seconds,
            max_attempts=self._settings.max_attempts,
        )
        if held is None:
            return False
        while self._attempt(held) is Completion.OUTDATED:
            _log.info("compared anew", extra=_ids(held))
        remove_upload(self._sessions, self._storage, held.id)
        return True

    def tidy(self) -> None:
        """Remove now and then what killed processes left: folders, and zips of ended imports."""
        if time.monotonic() < self._tidy_at:
            return
        grace = self._settings.orphan_grace_seconds
        self._tidy_at = time.monotonic() + grace
        folders = {path: uuid.UUID(path.name[:36]) for path in self._ingest.imports.glob("*")}
        still_open = open_datasets(self._sessions, set(folders.values()))
        for path, dataset_id in folders.items():
            if dataset_id not in still_open:
                shutil.rmtree(path, ignore_errors=True)
        until = utc_now() - dt.timedelta(seconds=grace)
        sweep_uploads(self._sessions, self._storage, until=until)

    def _attempt(self, held: DatasetClaim) -> object:
        """Work on a claim, renewing it meanwhile, and write how it ended."""
        work = _Work(held, self._ending)
        work.thread.start()
        beat_at = 0.0
        while work.thread.is_alive():
            if self._stop.is_set():
                work.is_lost = True
                return self._write(partial(hand_back, self._sessions, held))
            if time.monotonic() >= beat_at and not work.is_lost:
                beat_at = time.monotonic() + self._settings.lease_seconds / _BEATS_A_LEASE
                work.is_lost = not self._beat(held)
            work.thread.join(_TURN_SECONDS)
        return self._write(work.ending) if work.ending else None

    def _beat(self, held: DatasetClaim) -> bool:
        try:
            return renew(self._sessions, held, lease_seconds=self._settings.lease_seconds)
        except SQLAlchemyError as error:
            _log.warning("no heartbeat", extra={**_ids(held), "error": type(error).__name__})
            return True

    def _ending(self, work: _Work) -> Ending:
        """Do the work; returns what is then to be written."""
        held = work.held
        try:
            found = self._ingest(held, work.carry_on)
        except ImportLostError:
            _log.warning("lost claim", extra=_ids(held))
            return bool
        except Exception as error:  # it must end or go back, whatever was raised
            _log.warning("attempt failed", extra=_ids(held), exc_info=error)
            away = isinstance(error, SQLAlchemyError) and is_outage(error)
            raised = DatabaseAwayError() if away else error
            limit = self._settings.max_attempts
            return partial(give_up, self._sessions, held, raised, max_attempts=limit)
        _log.info("imported", extra={**_ids(held), "version": found.record["version"]})
        return partial(complete, self._sessions, held, found)

    def _write(self, ending: Ending) -> object:
        """Write how an attempt ended, however long the database is away."""
        while True:
            try:
                return ending()
            except SQLAlchemyError as error:
                if not is_outage(error) or self._stop.is_set():
                    raise
                _log.warning("waiting for the database", extra={"error": type(error).__name__})
                self._stop.wait(_RETRY_SECONDS)


def _ids(held: DatasetClaim) -> dict[str, object]:
    return {"dataset": str(held.id), "attempt": held.attempt}
