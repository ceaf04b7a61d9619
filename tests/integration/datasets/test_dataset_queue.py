"""Imports as a queue: no crash loses one, and no two trainers make the same."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from shared.datasets.claim import ABANDONED, Completion, complete, give_up, hand_back, renew
from shared.datasets.queries import get_dataset
from shared.datasets.states import DatasetSource, DatasetStatus, Imported
from shared.db import models
from shared.db.models import AuditRow, ReviewRow
from shared.db.session import Sessions
from shared.errors import DatasetError
from shared.reviews.newest import last_review
from shared.storage import ObjectMissingError, StorageUnavailableError
from shared.storage.s3 import S3Store
from tests.integration.datasets.queued import LEASE, LIMIT, asked, taken
from tests.integration.jobs import finish, post, take
from tests.waiting import eventually


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
