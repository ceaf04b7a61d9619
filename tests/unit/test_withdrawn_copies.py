"""What a trainer has on its disk of a data set that was withdrawn goes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from services.trainer.device_lock import device_lock
from services.trainer.ingest import Ingest

GONE, KEPT = "a" * 64, "b" * 64


@pytest.fixture
def ingest(tmp_path: Path) -> Ingest:
    """A trainer with two fetched versions, and features of images of both."""
    for version in (GONE, f"{GONE}.draft", KEPT):
        (tmp_path / "datasets" / version / "Pro").mkdir(parents=True)
    (tmp_path / "features" / "1").mkdir(parents=True)
    (tmp_path / "features" / "1" / "rows.f16").write_bytes(b"features")
    nothing = cast(Any, None)
    return Ingest(cast(Any, SimpleNamespace(trainer_work=tmp_path)), nothing, nothing)


def left(work: Path) -> set[str]:
    folders = [path for path in work.glob("*") if path.is_dir()]
    return {path.name for path in folders} | {path.name for path in work.glob("datasets/*")}


def test_copies_of_a_withdrawn_version_go_and_features_with_them(
    ingest: Ingest, tmp_path: Path
) -> None:
    ingest.forget([GONE])
    assert left(tmp_path) == {"datasets", KEPT}


def test_features_that_a_run_reads_go_after_it(ingest: Ingest, tmp_path: Path) -> None:
    with device_lock(tmp_path):
        ingest.forget([GONE])
        assert left(tmp_path) == {"datasets", KEPT, "features"}
    ingest.forget([GONE])
    assert left(tmp_path) == {"datasets", KEPT}


def test_features_stay_where_no_withdrawn_version_was_fetched(
    ingest: Ingest, tmp_path: Path
) -> None:
    ingest.forget(["c" * 64])
    assert "features" in left(tmp_path)
