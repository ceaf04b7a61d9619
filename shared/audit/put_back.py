"""Puts checkpoints back into an object store that was restored with its database."""

from __future__ import annotations

import io

from shared.audit.anchors import Anchors
from shared.db.session import Sessions
from shared.storage import ObjectStore


def put_back_checkpoints(sessions: Sessions, storage: ObjectStore) -> None:
    """Store an object for each checkpoint of the database, which has all that is in one.

    Raises:
        StorageUnavailableError: The object store does not answer.
    """
    for found in Anchors(sessions, storage).checkpoints(0):
        storage.put(found.key, io.BytesIO(found.data), len(found.data), "application/json")
