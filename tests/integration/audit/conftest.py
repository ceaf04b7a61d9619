"""Trails to verify: an empty one for each test, or one that is put back after each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from shared.db.session import Sessions, create_sessions
from shared.storage.s3 import S3Store
from tests.integration.audit.trail import Kept, Trail, empty


@pytest.fixture
def trail(sessions: Sessions, storage: S3Store) -> Trail:
    empty(storage)
    return Trail(sessions, storage)


@pytest.fixture(scope="module")
def kept(database: Engine, storage: S3Store) -> Kept:
    """Twelve events under three checkpoints, made once."""
    made = Trail(create_sessions(database), storage)
    made.clear()
    empty(storage)
    for _ in range(3):
        made.write(4)
        made.checkpoint()
    return Kept(made)


@pytest.fixture
def attested(kept: Kept) -> Iterator[Trail]:
    """Twelve events under three checkpoints, as they were made."""
    yield kept.trail
    kept.put_back()
