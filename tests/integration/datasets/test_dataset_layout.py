"""A version of a data set, as training gets it."""

from __future__ import annotations

import io
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.trainer.dataset import read_dataset
from services.trainer.dataset_store import DatasetDamagedError, fetch_dataset
from shared.datasets.queries import get_record
from shared.datasets.states import DatasetNotReadyError
from shared.storage import ObjectMissingError, training_image_key
from tests.datasets import drawn, ended, importing, upload
from tests.integration.datasets.queued import asked


@pytest.fixture
def dataset_id(client, settings, sessions, storage, work: Path) -> uuid.UUID:
    """A version of four images and a copy's group."""
    answer = upload(client, {**drawn(), **{n.replace("1", "2"): c for n, c in drawn(11).items()}})
    with importing(settings, sessions, storage, work):
        assert ended(client, answer.json["id"])["status"] == "ready"
    return uuid.UUID(answer.json["id"])


def test_a_version_is_laid_out_for_training(sessions, storage, dataset_id, tmp_path) -> None:
    folder = fetch_dataset(storage, sessions, dataset_id, tmp_path)
    record = get_record(sessions, dataset_id)
    read = read_dataset(folder, cache=tmp_path / "none")
    assert folder == tmp_path / record["version"]
    assert read.version == record["version"]
    assert {(s.sha256, s.group) for s in read.samples} == {
        (image["sha256"], image["group"]) for image in record["images"]
    }
    assert not (tmp_path / "none").exists()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert fetch_dataset(storage, sessions, dataset_id, tmp_path) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_layout_that_was_cut_off_goes_on(sessions, storage, dataset_id, tmp_path) -> None:
    whole = fetch_dataset(storage, sessions, dataset_id, tmp_path / "whole")
    version = whole.name
    draft = (tmp_path / "cut" / version).with_suffix(".draft")
    image = next(whole.glob("Pro/*"))
    (draft / "Pro").mkdir(parents=True)
    (draft / "Pro" / image.name).write_bytes(image.read_bytes())
    half = next(whole.glob("Pre/*"))
    (draft / "Pre").mkdir()
    (draft / "Pre" / half.name).with_suffix(".part").write_bytes(half.read_bytes()[:100])
    again = fetch_dataset(storage, sessions, dataset_id, tmp_path / "cut")
    assert read_dataset(again).version == version


def test_several_may_lay_it_out_at_once(sessions, storage, dataset_id, tmp_path) -> None:
    start = threading.Barrier(4)

    def fetch(_: int) -> Path:
        start.wait(30)
        return fetch_dataset(storage, sessions, dataset_id, tmp_path)

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(fetch, range(4)))) == 1


def test_what_is_not_the_version_is_not_laid_out(sessions, storage, dataset_id, tmp_path) -> None:
    sha256 = get_record(sessions, dataset_id)["images"][0]["sha256"]
    key = training_image_key(sha256)
    storage.put(key, io.BytesIO(b"x"), 1, "image/png")
    with pytest.raises(DatasetDamagedError, match=sha256):
        fetch_dataset(storage, sessions, dataset_id, tmp_path)
    storage.delete(key)
    with pytest.raises(ObjectMissingError):
        fetch_dataset(storage, sessions, dataset_id, tmp_path)
    assert not list(tmp_path.glob("*/manifest.csv"))
    with pytest.raises(DatasetNotReadyError):
        fetch_dataset(storage, sessions, asked(sessions), tmp_path)
