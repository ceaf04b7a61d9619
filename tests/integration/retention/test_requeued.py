"""Jobs that are queued again while a purge looks at them."""

from __future__ import annotations

import datetime as dt
import threading
import time
import uuid

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.auth.tenants import DEFAULT_TENANT
from shared.clock import utc_now
from shared.db.session import Sessions
from shared.errors import HemotriageError
from shared.jobs.entities import Job
from shared.jobs.queries import get_job
from shared.jobs.requeue import requeue
from shared.jobs.states import Status
from shared.retention.kinds import PURGINGS
from shared.retention.policy import Kind
from shared.retention.removed import ImagePurgedError
from shared.storage.s3 import S3Store
from tests.integration.jobs import post
from tests.integration.retention.conftest import NO_TIME

_IMAGES = PURGINGS[Kind.IMAGES]
_DIES = (
    "UPDATE jobs SET status = 'dead', error_code = 'expired', "
    "finished_at = now() - interval '31 days' WHERE id = :job_id"
)


@pytest.fixture
def dead(sessions: Sessions, storage: S3Store, key_id: str) -> uuid.UUID:
    """A job that died a month ago."""
    job_id = post(sessions, storage, key_id).job.id
    with sessions.begin() as session:
        session.execute(text(_DIES), {"job_id": job_id})
    return job_id


def found_due(session: Session) -> tuple[list[uuid.UUID], dt.datetime]:
    """What a purge finds, and the moment that it asks for."""
    before = utc_now() - dt.timedelta(days=30)
    values = {"before": before, "after": _IMAGES.first, "limit": 9}
    return [row.id for row in session.execute(_IMAGES.find, values)], before


def queue_again(sessions: Sessions, job_id: uuid.UUID) -> None:
    requeue(sessions, job_id, tenant=DEFAULT_TENANT, expire_after_seconds=60)


def as_it_is(sessions: Sessions, job_id: uuid.UUID) -> Job:
    return get_job(sessions, job_id, tenant=DEFAULT_TENANT)


def test_a_job_that_is_queued_again_before_its_images_go_keeps_them(
    sessions: Sessions, dead: uuid.UUID
) -> None:
    with sessions.begin() as session:
        ids, before = found_due(session)
        assert ids == [dead]
        queue_again(sessions, dead)
        _IMAGES.remove(session, ids, before, NO_TIME)
    job = as_it_is(sessions, dead)
    assert (job.status, job.images_purged_at) == (Status.QUEUED, None)


def test_a_job_whose_images_are_just_going_is_not_queued_again(
    sessions: Sessions, dead: uuid.UUID
) -> None:
    met: list[Exception] = []

    def late() -> None:
        try:
            queue_again(sessions, dead)
        except HemotriageError as error:
            met.append(error)

    thread = threading.Thread(target=late)
    with sessions.begin() as session:
        _IMAGES.remove(session, *found_due(session), NO_TIME)
        thread.start()
        time.sleep(0.5)
    thread.join(10)
    assert [type(error) for error in met] == [ImagePurgedError]
    assert as_it_is(sessions, dead).status is Status.DEAD
