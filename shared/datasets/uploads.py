"""Zips that data sets were imported from go when the import has ended."""

from __future__ import annotations

import datetime as dt
import uuid

from shared.datasets.queries import open_datasets
from shared.db.removal import removal
from shared.db.session import Sessions
from shared.storage import UPLOADS_PREFIX, ObjectStore, dataset_of_key, upload_key


def remove_upload(sessions: Sessions, storage: ObjectStore, dataset_id: uuid.UUID) -> None:
    """Remove the zip of a data set, if its import has ended.

    Raises:
        StorageUnavailableError: The store does not answer; `sweep_uploads` removes it later.
        BackupRunsError: A backup may need it; the same.
    """
    if not open_datasets(sessions, [dataset_id]):
        _remove(sessions, storage, upload_key(dataset_id))


def sweep_uploads(sessions: Sessions, storage: ObjectStore, *, until: dt.datetime) -> int:
    """Remove zips written before a moment whose import has ended, or was never asked for.

    Args:
        sessions: The database.
        storage: The object store.
        until: Earlier than any zip whose data set may still be about to be written.

    Returns:
        How many were removed.

    Raises:
        StorageUnavailableError: The store does not answer.
        BackupRunsError: A backup may need them.
    """
    aged = {
        dataset_id: found.key
        for found in storage.list(UPLOADS_PREFIX, after=UPLOADS_PREFIX)
        if found.written_at < until and (dataset_id := dataset_of_key(found.key))
    }
    unused = aged.keys() - open_datasets(sessions, aged.keys())
    for dataset_id in unused:
        _remove(sessions, storage, aged[dataset_id])
    return len(unused)


def _remove(sessions: Sessions, storage: ObjectStore, key: str) -> None:
    with removal(sessions):
        storage.delete(key)
