"""Sets checkpoints aside that an older database, from a backup, cannot have any more."""

from __future__ import annotations

import tempfile
from typing import BinaryIO, cast

from shared import audit
from shared.audit.anchors import Anchors
from shared.audit.checkpoint import TAIL_KEY, CheckpointError, key_of_place
from shared.audit.links import ends
from shared.db.session import Sessions
from shared.storage import ObjectStore

SET_ASIDE_PREFIX = "audit/set-aside/"

_ACTOR = "operator"
_SET_ASIDE = "audit.checkpoints_set_aside"


def set_aside(sessions: Sessions, storage: ObjectStore) -> int:
    """Move checkpoints of the object store that are not of this chain out of the way.

    Also the object of the newest state where it is no checkpoint.

    They stay, under `audit/set-aside/`, as what tells of the events that were lost. An event tells
    that it was done.

    Returns:
        How many were moved.

    Raises:
        StorageUnavailableError: The object store does not answer; call it again.
    """
    anchors = Anchors(sessions, storage)
    first, last = ends(sessions)
    wrong = [
        (anchor.position, key_of_place(anchor.position, anchor.hash))
        for anchor in anchors.of_store(first - 1)
        if anchors.hash_at(anchor.position) != anchor.hash
    ]
    try:
        tails = [found for found in anchors.tail() if anchors.hash_at(found.position) != found.hash]
        wrong += [(found.position, TAIL_KEY) for found in tails]
    except CheckpointError:
        wrong.append((last, TAIL_KEY))
    if wrong:
        position = min(place for place, _ in wrong)
        with sessions.begin() as session:
            audit.record(session, _ACTOR, _SET_ASIDE, objects=len(wrong), position=position)
    for _, key in wrong:
        _copy(storage, key, SET_ASIDE_PREFIX + key.removeprefix("audit/"))
        storage.delete(key)
    return len(wrong)


def _copy(storage: ObjectStore, key: str, target: str) -> None:
    """By a file: what is no checkpoint may be of any size."""
    with tempfile.TemporaryFile() as file:
        for piece in storage.get_stream(key):
            file.write(piece)
        size = file.tell()
        file.seek(0)
        storage.put(target, cast(BinaryIO, file), size, "application/json")
