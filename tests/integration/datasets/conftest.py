"""A trainer that imports data sets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.db.session import Sessions
from shared.settings import Settings
from shared.storage.s3 import S3Store
from tests.datasets import importing


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """The work folder of a trainer."""
    return tmp_path / "work"


@pytest.fixture
def importer(
    settings: Settings, sessions: Sessions, storage: S3Store, work: Path
) -> Iterator[None]:
    """A trainer that imports."""
    with importing(settings, sessions, storage, work):
        yield
