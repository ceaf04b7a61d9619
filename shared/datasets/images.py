"""Images that an import stored before it failed go, unless a version has them too."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator, Sequence

from sqlalchemy import ARRAY, Text, bindparam, select, text
from sqlalchemy.orm import Session

from shared.datasets.states import DatasetStatus
from shared.db.models import DatasetRow
from shared.db.removal import removal
from shared.db.session import Sessions
from shared.storage import TRAINING_IMAGES_PREFIX, ObjectStore

_BATCH = 50  # few, for whoever asks for an import waits meanwhile

_NAMED = text(
    """
    SELECT DISTINCT image ->> 'sha256' FROM datasets AS d,
        json_array_elements(d.record -> 'images') AS image
    WHERE image ->> 'sha256' = ANY(:hashes)
    """
).bindparams(bindparam("hashes", type_=ARRAY(Text)))

# No import is claimed, and none completes, before the transaction ends.
_KEEP_IMPORTS_OUT = text("LOCK TABLE datasets IN SHARE ROW EXCLUSIVE MODE")


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
    aged = [
        found.key.removeprefix(prefix)
        for found in storage.list(prefix, after=prefix)
        if found.written_at < until
    ]
    with sessions() as session:
        candidates = [one for part in _parts(aged) for one in _unnamed(session, part)]
    return sum(_remove(sessions, storage, part) for part in _parts(sorted(candidates)))


def _remove(sessions: Sessions, storage: ObjectStore, hashes: Collection[str]) -> int:
    with removal(sessions), sessions.begin() as session:
        session.execute(_KEEP_IMPORTS_OUT)
        running = select(DatasetRow.id).where(DatasetRow.status == DatasetStatus.RUNNING).limit(1)
        if session.scalar(running) is not None:
            return 0
        unnamed = _unnamed(session, hashes)
        for sha256 in unnamed:
            storage.delete(TRAINING_IMAGES_PREFIX + sha256)
        return len(unnamed)


def _unnamed(session: Session, hashes: Collection[str]) -> set[str]:
    return {*hashes} - {*session.scalars(_NAMED, {"hashes": list(hashes)})}


def _parts(hashes: Sequence[str]) -> Iterator[Sequence[str]]:
    return (hashes[start : start + _BATCH] for start in range(0, len(hashes), _BATCH))
