"""Imports as a queue: no crash loses one, no two trainers make the same, what they leave goes."""

from __future__ import annotations

import datetime as dt
import io
import signal
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from services.trainer.dataset import read_dataset
from services.trainer.dataset_store import DatasetDamagedError, fetch_dataset
from shared.clock import utc_now
from shared.datasets.claim import (
    ABANDONED,
    Completion,
    claim,
    complete,
    give_up,
    hand_back,
    renew,
)
from shared.datasets.queries import get_dataset, get_record
from shared.datasets.queue import request_upload
from shared.datasets.states import (
    DatasetClaim,
    DatasetNotReadyError,
    DatasetSource,
    DatasetStatus,
    Imported,
)
from shared.datasets.uploads import sweep_uploads
from shared.db import models
from shared.db.models import AuditRow, ReviewRow
from shared.db.session import Sessions
from shared.errors import DatasetError
from shared.reviews.newest import last_review
from shared.settings import Settings
from shared.storage import (
    UPLOADS_PREFIX,
    ObjectMissingError,
    StorageUnavailableError,
    training_image_key,
    upload_key,
)
from shared.storage.s3 import S3Store
from tests.datasets import drawn, ended, importing, upload, zipped
from tests.integration.jobs import finish, post, take
from tests.waiting import eventually

LIMIT = 3
LEASE = 60


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "work"


def asked(sessions: Sessions, *, locked: bool = False) -> uuid.UUID:
    """An import that waits; its zip is nowhere."""
    dataset_id = uuid.uuid4()
    request_upload(
        sessions, dataset_id, name=None, locked=locked, sha256="a" * 64, length=1, actor="key:k"
    )
    return dataset_id


def taken(sessions: Sessions, worker: str = "t1", lease: float = LEASE) -> DatasetClaim | None:
    return claim(sessions, worker=worker, lease_seconds=lease, max_attempts=LIMIT)


def found(*compared: uuid.UUID) -> Imported:
    """What an import of no images would have found."""
    return Imported({"version": "v"}, {"counts": {}}, [], {}, [], frozenset(compared))


def set_all(sessions: Sessions, change: str) -> None:
    with sessions.begin() as session:
        session.execute(text(f"UPDATE datasets SET {change}"))


def test_the_words_of_the_schema_are_those_of_the_code() -> None:
    assert tuple(DatasetStatus) == models.DATASET_STATUSES
    assert tuple(DatasetSource) == models.DATASET_SOURCES


def test_imports_are_taken_in_their_order_and_each_once(sessions) -> None:
    ids = [asked(sessions) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        first = {held.id for held in pool.map(lambda n: taken(sessions, f"t{n}"), range(3)) if held}
    assert first <= set(ids[:3])
    rest = [held.id for _ in range(6) if (held := taken(sessions))]
    assert sorted([*first, *rest]) == sorted(ids)
    assert rest == [dataset_id for dataset_id in ids if dataset_id not in first]


def test_only_the_holder_ends_an_import(sessions) -> None:
    dataset_id = asked(sessions)
    held = taken(sessions)
    assert renew(sessions, held, lease_seconds=LEASE)
    set_all(sessions, "lease_expires_at = now() - interval '1 s'")
    later = taken(sessions, "t2")
    assert (later.id, later.attempt, later.failures) == (dataset_id, 2, 1)
    assert not renew(sessions, held, lease_seconds=LEASE)
    assert complete(sessions, held, found()) is Completion.LOST
    hand_back(sessions, held)
    give_up(sessions, held, DatasetError(), max_attempts=LIMIT)
    assert get_dataset(sessions, dataset_id).status is DatasetStatus.RUNNING
    assert complete(sessions, later, found()) is Completion.READY
    assert get_dataset(sessions, dataset_id).version == "v"


def test_what_kills_its_trainers_is_given_up(sessions) -> None:
    dataset_id = asked(sessions)
    for attempt in range(1, LIMIT + 1):
        assert taken(sessions).attempt == attempt
        set_all(sessions, "lease_expires_at = now() - interval '1 s'")
    assert taken(sessions) is None
    state = get_dataset(sessions, dataset_id)
    assert (state.status, state.error.code) == (DatasetStatus.FAILED, ABANDONED)
    with sessions() as session:
        wanted = select(AuditRow.details).where(AuditRow.action == "dataset.failed")
        details = session.scalars(wanted).one()
    assert details == {"dataset_id": str(dataset_id), "code": ABANDONED}


@pytest.mark.parametrize(
    ("error", "failures", "status"),
    [
        (StorageUnavailableError(), 0, DatasetStatus.QUEUED),
        (RuntimeError("Ada Lovelace"), 1, DatasetStatus.QUEUED),
        (ObjectMissingError("x"), 0, DatasetStatus.FAILED),
    ],
)
def test_an_outage_costs_nothing_and_a_fault_of_the_upload_ends_it(
    sessions, error: Exception, failures: int, status: DatasetStatus
) -> None:
    dataset_id = asked(sessions)
    give_up(sessions, taken(sessions), error, max_attempts=LIMIT)
    assert get_dataset(sessions, dataset_id).status is status
    assert taken(sessions) is None  # what goes back waits a little
    set_all(sessions, "due_at = now()")
    again = taken(sessions)
    assert (again and again.failures) == (failures if status is DatasetStatus.QUEUED else None)


def test_an_error_that_nobody_foresaw_is_told_by_its_type_alone(sessions) -> None:
    dataset_id = asked(sessions)
    give_up(sessions, taken(sessions), RuntimeError("Ada Lovelace"), max_attempts=1)
    error = get_dataset(sessions, dataset_id).error
    assert (error.code, error.detail) == (ABANDONED, "Its last attempt: RuntimeError")


@pytest.mark.parametrize("locked_first", [True, False])
def test_of_two_that_end_at_once_the_later_knows_the_earlier(sessions, locked_first: bool) -> None:
    for locked in (locked_first, not locked_first):
        asked(sessions, locked=locked)
    first, second = taken(sessions), taken(sessions)
    assert complete(sessions, first, found()) is Completion.READY
    assert complete(sessions, second, found()) is Completion.OUTDATED
    assert get_dataset(sessions, second.id).status is DatasetStatus.RUNNING
    assert complete(sessions, second, found(first.id)) is Completion.READY


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("status = 'ready', finished_at = now()", "version_when_ready"),
        ("status = 'running'", "lease_while_running"),
        ("status = 'failed', finished_at = now()", "failure_has_code"),
        ("record = '{}'", "version_is_whole"),
        ("upload_sha256 = NULL", "upload_is_told"),
        ("base_id = id", "upload_has_no_base"),
        ("failures = 1", "failures_are_attempts"),
    ],
)
def test_the_database_refuses_an_impossible_data_set(sessions, change, constraint: str) -> None:
    asked(sessions)
    with pytest.raises(IntegrityError, match=f"ck_datasets_{constraint}"):
        set_all(sessions, change)


def test_the_last_review_waits_for_those_under_way(sessions, storage, client) -> None:
    """A review with a smaller id never appears after the last one was asked for."""
    job_id = a_reviewed_job(sessions, storage, client)
    with sessions() as writer, ThreadPoolExecutor(1) as pool:
        key = writer.scalars(select(ReviewRow.api_key_id)).one()
        row = ReviewRow(job_id=job_id, decision="confirm", label="Benign", api_key_id=key)
        writer.add(row)
        writer.flush()
        asking = pool.submit(lambda: last_of(sessions))
        eventually(lambda: waits_for_a_lock(sessions))
        assert not asking.done()
        writer.commit()
        assert asking.result(30) == row.id


def last_of(sessions: Sessions) -> int:
    with sessions() as session:
        return last_review(session)


def waits_for_a_lock(sessions: Sessions) -> bool:
    with sessions() as session:
        return bool(session.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")))


def a_reviewed_job(sessions: Sessions, storage: S3Store, client) -> uuid.UUID:
    with sessions() as session:
        key_id = session.scalars(select(models.ApiKeyRow.id)).first()
    job = post(sessions, storage, key_id).job
    assert finish(sessions, take(sessions, job))
    client.post(f"/v1/jobs/{job.id}/review", json={"decision": "confirm"})
    return job.id


# Trainers


def test_two_trainers_share_the_imports(client, settings, sessions, storage, tmp_path) -> None:
    ids = [upload(client, drawn(start)).json["id"] for start in range(1, 60, 10)]
    with (
        importing(settings, sessions, storage, tmp_path / "a"),
        importing(settings, sessions, storage, tmp_path / "b"),
    ):
        ends = [ended(client, dataset_id) for dataset_id in ids]
    assert [(end["status"], end["attempts"]) for end in ends] == [("ready", 1)] * len(ids)
    with sessions() as session:
        wanted = select(AuditRow).where(AuditRow.action == "dataset.ready")
        assert len(session.scalars(wanted).all()) == len(ids)


_TRAINER = """
import sys, threading
from shared.db.session import create_database, create_sessions
from shared.settings import Settings
from shared.storage.s3 import S3Store
from services.trainer.imports import run_imports

settings = Settings()
sessions = create_sessions(create_database(settings, pool_size=4))
run_imports(settings, sessions, S3Store(settings, pool_size=2), threading.Event(), look_seconds=0.1)
"""


def test_an_import_that_is_killed_is_done_by_the_next_trainer(
    client, servers, sessions, storage, *, settings: Settings, work: Path
) -> None:
    dataset_id = upload(client, drawn()).json["id"]
    environment = {
        **servers.environment(),
        "HEMOTRIAGE_TRAINER_WORK": str(work),
        "HEMOTRIAGE_LEASE_SECONDS": "1",
    }
    trainer = subprocess.Popen([sys.executable, "-c", _TRAINER], env=environment)
    try:
        eventually(lambda: list((work / "imports").glob("*/images/*/*")))
    finally:
        trainer.send_signal(signal.SIGKILL)
        trainer.wait()
    assert client.get(f"/v1/datasets/{dataset_id}").json["status"] == "running"
    assert list((work / "imports").iterdir())
    with importing(settings, sessions, storage, work):
        end = ended(client, dataset_id)
    assert (end["status"], end["attempts"]) == ("ready", 2)
    assert end["statistics"]["images"] == len(drawn())
    assert list((work / "imports").iterdir()) == []


class SlowStore(S3Store):
    """The object store, which takes no image before it is let."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, pool_size=2)
        self.asked, self.let = threading.Event(), threading.Event()

    def put(self, key: str, data: BinaryIO, length: int, media_type: str) -> None:
        self.asked.set()
        assert self.let.wait(60)
        super().put(key, data, length, media_type)


def test_a_trainer_that_stops_hands_its_import_back(client, settings, sessions, work: Path) -> None:
    dataset_id = upload(client, drawn()).json["id"]
    slow = SlowStore(settings)
    with importing(settings, sessions, slow, work):
        assert slow.asked.wait(60)
    held = taken(sessions)
    assert (str(held.id), held.attempt, held.failures) == (dataset_id, 2, 0)
    slow.let.set()
    eventually(lambda: not list((work / "imports").iterdir()))
    assert get_dataset(sessions, held.id).status is DatasetStatus.RUNNING


def test_a_long_import_keeps_its_lease(client, settings, sessions, work: Path) -> None:
    dataset_id = upload(client, drawn()).json["id"]
    slow = SlowStore(settings)
    with importing(settings, sessions, slow, work, lease_seconds=1):
        assert slow.asked.wait(60)
        time.sleep(2)
        assert taken(sessions) is None
        slow.let.set()
        assert ended(client, dataset_id)["attempts"] == 1


def test_a_zip_that_changed_in_the_store_is_not_imported(
    client, settings, sessions, storage, work
) -> None:
    dataset_id = upload(client, drawn()).json["id"]
    other = zipped(drawn(11))
    storage.put_stream(upload_key(dataset_id), io.BytesIO(other), "application/zip")
    with importing(settings, sessions, storage, work):
        assert ended(client, dataset_id)["error"]["code"] == "dataset_damaged"


def test_zips_that_nothing_waits_for_are_removed(client, sessions, storage) -> None:
    waiting = upload(client, drawn()).json["id"]
    orphan = upload_key(uuid.uuid4())
    stranger = f"{UPLOADS_PREFIX}README"
    for key in (orphan, stranger):
        storage.put_stream(key, io.BytesIO(b"x"), "application/zip")
    assert sweep_uploads(sessions, storage, until=utc_now() - dt.timedelta(hours=1)) == 0
    assert sweep_uploads(sessions, storage, until=utc_now() + dt.timedelta(hours=1)) >= 1
    left = {found.key for found in storage.list(UPLOADS_PREFIX, after=UPLOADS_PREFIX)}
    assert {upload_key(waiting), stranger} <= left
    assert orphan not in left


# What training gets


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
