"""Images that an import stored before it failed go, unless a version has them too."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import select, text

from shared.datasets.states import DatasetStatus
from shared.db.models import DatasetRow
from shared.db.removal import removal
from shared.db.session import Sessions, execute
from shared.storage import TRAINING_IMAGES_PREFIX, ObjectStore

_NAMED = text(
    """
    SELECT DISTINCT image ->> 'sha256' AS sha256 FROM datasets AS d,
        json_array_elements(d.record -> 'images') AS image
    """
)

_IS_NAMED = text(
    """
    SELECT EXISTS (
        SELECT FROM datasets AS d, json_array_elements(d.record -> 'images') AS image
        WHERE image ->> 'sha256' = :sha256
    )
    """
)

# No import is claimed, and none completes, before the transaction ends.
_KEEP_IMPORTS_OUT = text("LOCK TABLE datasets IN SHARE ROW EXCLUSIVE MODE")


class _ImportRunsError(Exception):
    """What may be removed cannot be told before it has ended."""


def sweep_images(sessions: Sessions, storage: ObjectStore, *, until: dt.datetime) -> int:
    """Remove images written before a moment that no version names, if no import runs.

    An import that runs may have stored an image anew that an earlier one left; what is left then
    goes another time.

    Args:
        sessions: The database.
        storage: The object store.
        until: Some time ago, so that what is written now is not looked at.

    Returns:
        How many were removed.

    Raises:
        StorageUnavailableError: The store does not answer.
        BackupRunsError: A backup may need them.
    """
    prefix = TRAINING_IMAGES_PREFIX
    aged = {
        found.key.removeprefix(prefix)
        for found in storage.list(prefix, after=prefix)
        if found.written_at < until
    }
    named = {row.sha256 for row in execute(sessions, _NAMED)} if aged else set()
    removed = 0
    for sha256 in sorted(aged - named):
        try:
            removed += _remove(sessions, storage, sha256)
        except _ImportRunsError:
            break
    return removed


def _remove(sessions: Sessions, storage: ObjectStore, sha256: str) -> bool:
    """Remove one, in a transaction as short as that; False if a version has come to name it."""
    running = select(DatasetRow.id).where(DatasetRow.status == DatasetStatus.RUNNING).limit(1)
    with removal(sessions), sessions.begin() as session:
        session.execute(_KEEP_IMPORTS_OUT)
        if session.scalar(running) is not None:
            raise _ImportRunsError
        if session.scalar(_IS_NAMED, {"sha256": sha256}):
            return False
        storage.delete(TRAINING_IMAGES_PREFIX + sha256)
        return True
