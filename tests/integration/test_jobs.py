"""The life of a job in the real database: accepted once, claimed once, ended once."""

import datetime as dt
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from shared.auth.tenants import DEFAULT_TENANT
from shared.db.models import AuditRow, JobRow, OutboxRow
from shared.errors import (
    ConflictError,
    IdempotencyConflictError,
    NotFoundError,
)
from shared.jobs.cancel import cancel
from shared.jobs.queries import JobFilter, get_job, list_jobs
from shared.jobs.states import Priority, Status
from shared.storage import StorageUnavailableError
from shared.storage.s3 import S3Store
from tests.factories import smear_bytes
from tests.integration.jobs import (
    Recorder,
    count,
    finish,
    post,
    take,
)


def test_a_job_is_stored_announced_and_read_back(sessions, storage, key_id) -> None:
    broker = Recorder()
    job = post(sessions, storage, key_id, broker, priority=Priority.STAT).job
    assert broker.sent == [(job.id, "stat")]
    assert count(sessions, OutboxRow) == 0
    assert get_job(sessions, job.id, tenant=DEFAULT_TENANT) == job
    assert storage.get(job.images[0].object_key) == smear_bytes(1)


def test_nothing_is_accepted_while_the_object_store_is_down(
    sessions, storage, key_id, settings
) -> None:
    unreachable = S3Store(settings.model_copy(update={"s3_endpoint": "127.0.0.1:9"}), pool_size=1)
    with pytest.raises(StorageUnavailableError):
        post(sessions, unreachable, key_id)
    assert count(sessions, JobRow) == 0
    assert count(sessions, OutboxRow) == 0


def test_the_same_idempotency_key_gives_the_same_job(sessions, storage, key_id) -> None:
    first = post(sessions, storage, key_id, idempotency_key="a", request_sha256="1")
    again = post(sessions, storage, key_id, idempotency_key="a", request_sha256="1")
    assert (first.created, again.created) == (True, False)
    assert first.job.id == again.job.id
    with pytest.raises(IdempotencyConflictError):
        post(sessions, storage, key_id, idempotency_key="a", request_sha256="2")
    assert count(sessions, JobRow) == 1


def test_racing_requests_with_one_idempotency_key_make_one_job(sessions, storage, key_id) -> None:
    def send(_: int) -> uuid.UUID:
        return post(sessions, storage, key_id, idempotency_key="r", request_sha256="1").job.id

    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(send, range(16)))
    assert len(ids) == 1
    assert count(sessions, JobRow) == 1


def test_a_job_is_claimed_by_one_worker_alone(sessions, storage, key_id) -> None:
    job = post(sessions, storage, key_id).job
    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda n: take(sessions, job, f"w{n}"), range(8)))
    assert len([held for held in claims if held]) == 1
    assert get_job(sessions, job.id, tenant=DEFAULT_TENANT).status is Status.RUNNING


@pytest.mark.parametrize("priority", Priority)
def test_a_claim_says_how_urgent_its_job_is(sessions, storage, key_id, priority: Priority) -> None:
    job = post(sessions, storage, key_id, priority=priority).job
    assert take(sessions, job).priority is priority


def test_a_result_is_written_once_with_its_audit_event(sessions, storage, key_id) -> None:
    job = post(sessions, storage, key_id).job
    held = take(sessions, job)
    assert finish(sessions, held)
    assert not finish(sessions, held)
    done = get_job(sessions, job.id, tenant=DEFAULT_TENANT)
    assert done.status is Status.SUCCEEDED
    assert done.result["prediction"] == "Benign"
    assert list(done.result["probabilities"]) == ["Benign", "Early", "Pre", "Pro"]
    with sessions() as session:
        actions = session.scalars(
            select(AuditRow.action).where(AuditRow.job_id == job.id).order_by(AuditRow.id)
        ).all()
    assert actions == ["job.submitted", "job.succeeded"]


def test_only_a_queued_job_can_be_cancelled(sessions, storage, key_id) -> None:
    job = post(sessions, storage, key_id).job
    cancel(sessions, job.id, actor="test", tenant=DEFAULT_TENANT)
    assert get_job(sessions, job.id, tenant=DEFAULT_TENANT).status is Status.CANCELLED
    assert take(sessions, job) is None
    with pytest.raises(ConflictError, match="cancelled"):
        cancel(sessions, job.id, actor="test", tenant=DEFAULT_TENANT)
    running = post(sessions, storage, key_id).job
    take(sessions, running)
    with pytest.raises(ConflictError, match="running"):
        cancel(sessions, running.id, actor="test", tenant=DEFAULT_TENANT)
    with pytest.raises(NotFoundError):
        cancel(sessions, uuid.uuid4(), actor="test", tenant=DEFAULT_TENANT)


def test_pages_list_every_job_once_newest_first(sessions, storage, key_id) -> None:
    posted = [post(sessions, storage, key_id).job.id for _ in range(7)]
    listed, cursor = [], None
    while True:
        page = list_jobs(sessions, JobFilter(), limit=3, cursor=cursor, tenant=DEFAULT_TENANT)
        listed += [job.id for job in page.jobs]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert listed == posted[::-1]


def test_jobs_are_filtered(sessions, storage, key_id) -> None:
    stat = post(sessions, storage, key_id, priority=Priority.STAT, accession_number="A-1").job
    other = post(sessions, storage, key_id).job
    finish(sessions, take(sessions, other))

    def ids(**criteria: object) -> set[uuid.UUID]:
        return {
            job.id
            for job in list_jobs(
                sessions, JobFilter(**criteria), limit=10, tenant=DEFAULT_TENANT
            ).jobs
        }

    now = dt.datetime.now(dt.UTC)
    assert ids(priority=Priority.STAT) == ids(accession_number="A-1") == {stat.id}
    assert ids(status=Status.SUCCEEDED) == ids(urgency="routine") == {other.id}
    assert ids(urgency="urgent") == ids(submitted_from=now) == set()
    assert ids(submitted_to=now) == {stat.id, other.id}
