"""Imports data sets, one after the other, until the trainer stops."""

from __future__ import annotations

import datetime as dt
import logging
import shutil
import threading
import time
import uuid

from services.trainer.ingest import Ingest
from services.trainer.leased import CarryOn, Line, run_line
from shared.clock import utc_now
from shared.datasets import claim as queue
from shared.datasets.claim import Completion
from shared.datasets.images import sweep_images
from shared.datasets.queries import open_datasets, withdrawn_versions
from shared.datasets.states import DatasetClaim, Imported
from shared.datasets.uploads import remove_upload, sweep_uploads
from shared.db.listen import LOOK_SECONDS
from shared.db.session import Sessions
from shared.settings import Settings
from shared.storage import ObjectStore

_log = logging.getLogger(__name__)


def run_imports(
    settings: Settings,
    sessions: Sessions,
    storage: ObjectStore,
    stop: threading.Event,
    *,
    look_seconds: float = LOOK_SECONDS,
) -> None:
    """Take what waits for an import, and whatever comes, until `stop` is set.

    Args:
        settings: The lease, the limits, and the trainer's folder.
        sessions: The database; two connections are used at once.
        storage: The object store.
        stop: Ends it; see `run_line`.
        look_seconds: How often it looks whether anything waits.
    """
    imports = _Imports(settings, sessions, storage)
    line = Line(
        "imports",
        "dataset",
        queue,
        imports.do,
        is_outdated=lambda completed: completed is Completion.OUTDATED,
        left=imports.remove_upload,
        idle=imports.tidy,
    )
    run_line(line, settings, sessions, stop, look_seconds=look_seconds)


class _Imports:
    """What is done with an import, before and after it too."""

    def __init__(self, settings: Settings, sessions: Sessions, storage: ObjectStore) -> None:
        self._grace = settings.orphan_grace_seconds
        self._sessions = sessions
        self._storage = storage
        self._ingest = Ingest(settings, sessions, storage)
        self._tidy_at = 0.0

    def do(self, held: DatasetClaim, carry_on: CarryOn) -> Imported:
        """Import a data set."""
        found = self._ingest(held, carry_on)
        told = {"dataset": str(held.id), "attempt": held.attempt}
        _log.info("imported", extra={**told, "version": found.record["version"]})
        return found

    def remove_upload(self, held: DatasetClaim) -> None:
        """Remove the zip of an import that has ended."""
        remove_upload(self._sessions, self._storage, held.id)

    def tidy(self) -> None:
        """Remove now and then what killed processes, ended imports and withdrawn versions left."""
        if time.monotonic() < self._tidy_at:
            return
        self._tidy_at = time.monotonic() + self._grace
        folders = {path: uuid.UUID(path.name[:36]) for path in self._ingest.imports.glob("*")}
        still_open = open_datasets(self._sessions, set(folders.values()))
        for path, dataset_id in folders.items():
            if dataset_id not in still_open:
                shutil.rmtree(path, ignore_errors=True)
        self._ingest.forget(withdrawn_versions(self._sessions))
        until = utc_now() - dt.timedelta(seconds=self._grace)
        sweep_uploads(self._sessions, self._storage, until=until)
        sweep_images(self._sessions, self._storage, until=until)
