"""Objects without a job are removed once they are old enough, and no others."""

from __future__ import annotations

import datetime as dt
import io
import uuid

import pytest

from shared.clock import utc_now
from shared.db.session import Sessions
from shared.jobs.ids import first_job_id, new_job_id
from shared.jobs.orphans import sweep_orphans
from shared.storage import JOBS_PREFIX, ObjectMissingError, image_key
from shared.storage.s3 import S3Store
from tests.integration.jobs import post

SOON = dt.timedelta(minutes=1)


def put(storage: S3Store, key: str) -> str:
    storage.put(key, io.BytesIO(b"bytes"), 5, "image/png")
    return key


def exists(storage: S3Store, key: str) -> bool:
    try:
        return bool(storage.get(key))
    except ObjectMissingError:
        return False


@pytest.fixture
def empty_store(storage: S3Store) -> S3Store:
    for found in list(storage.list(JOBS_PREFIX, after=JOBS_PREFIX)):
        storage.delete(found.key)
    return storage


def test_an_old_object_without_a_job_is_removed_and_a_jobs_own_is_kept(
    sessions: Sessions,
    empty_store: S3Store,
    key_id: str,
) -> None:
    job = post(sessions, empty_store, key_id).job
    orphans = [put(empty_store, image_key(new_job_id(), index)) for index in range(3)]
    strange = put(empty_store, f"{JOBS_PREFIX}notes/readme.txt")
    assert sweep_orphans(sessions, empty_store, since=None, until=utc_now() + SOON) == 3
    assert not any(exists(empty_store, key) for key in orphans)
    assert exists(empty_store, job.images[0].object_key)
    assert exists(empty_store, strange), "what is not ours is not touched"


def test_a_young_object_is_left_alone(sessions: Sessions, empty_store: S3Store) -> None:
    key = put(empty_store, image_key(new_job_id(), 0))
    assert sweep_orphans(sessions, empty_store, since=None, until=utc_now() - SOON) == 0
    assert exists(empty_store, key)


def test_an_object_written_late_under_an_old_id_is_left_alone(
    sessions: Sessions, empty_store: S3Store
) -> None:
    key = put(empty_store, image_key(first_job_id(utc_now() - dt.timedelta(hours=2)), 0))
    assert sweep_orphans(sessions, empty_store, since=None, until=utc_now() - SOON) == 0
    assert exists(empty_store, key)


def test_a_later_pass_looks_only_at_what_is_new(sessions: Sessions, empty_store: S3Store) -> None:
    seen = put(empty_store, image_key(first_job_id(utc_now() - dt.timedelta(hours=2)), 0))
    fresh = put(empty_store, image_key(new_job_id(), 0))
    since = utc_now() - dt.timedelta(hours=1)
    assert sweep_orphans(sessions, empty_store, since=since, until=utc_now() + SOON) == 1
    assert (exists(empty_store, seen), exists(empty_store, fresh)) == (True, False)


def test_more_objects_than_a_page_holds_are_all_found(
    sessions: Sessions, empty_store: S3Store
) -> None:
    for _ in range(1100):
        put(empty_store, image_key(new_job_id(), 0))
    assert sweep_orphans(sessions, empty_store, since=None, until=utc_now() + SOON) == 1100
    assert list(empty_store.list(JOBS_PREFIX, after=JOBS_PREFIX)) == []


def test_ids_are_in_the_order_of_their_time() -> None:
    ids = [new_job_id() for _ in range(3)]
    assert all(one.version == 7 and one.variant == uuid.RFC_4122 for one in ids)
    now = utc_now()
    bounds = [first_job_id(now + dt.timedelta(seconds=seconds)) for seconds in (-5, 5)]
    assert all(bounds[0] < one < bounds[1] for one in ids)
    assert [str(bound) for bound in bounds] == sorted(map(str, bounds))
