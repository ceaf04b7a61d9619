"""Imports for tests: asked for and taken."""

from __future__ import annotations

import uuid

from shared.datasets.claim import claim
from shared.datasets.queue import request_upload
from shared.datasets.states import DatasetClaim
from shared.db.session import Sessions

LIMIT = 3
LEASE = 60


def asked(sessions: Sessions, *, locked: bool = False) -> uuid.UUID:
    """An import that waits; its zip is nowhere."""
    dataset_id = uuid.uuid4()
    request_upload(
        sessions, dataset_id, name=None, locked=locked, sha256="a" * 64, length=1, actor="key:k"
    )
    return dataset_id


def taken(sessions: Sessions, worker: str = "t1", lease: float = LEASE) -> DatasetClaim | None:
    return claim(sessions, worker=worker, lease_seconds=lease, max_attempts=LIMIT)
