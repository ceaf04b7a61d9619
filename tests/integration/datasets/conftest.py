"""A trainer that imports data sets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.db.session import Sessions
from shared.settings import Settings
from shared.storage.s3 import S3Store
from tests.datasets import (
    importing,
)


@pytest.fixture
def importer(
    settings: Settings, sessions: Sessions, storage: S3Store, tmp_path: Path
) -> Iterator[None]:
    """A trainer that imports."""
    with importing(settings, sessions, storage, tmp_path / "work"):
        yield
