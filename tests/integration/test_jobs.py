"""The life of a job in the real database: accepted once, claimed once, ended once."""

import datetime as dt
import io
import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from redis import Redis
from sqlalchemy import func, select, text
from sqlalchemy.exc import OperationalError

from shared.auth.keys import Scope, create_key
from shared.db.models import AuditRow, JobRow, OutboxRow, ResultRow
from shared.db.session import Sessions
from shared.errors import (
    AttemptCrashedError,
    ConflictError,
    CorruptImageError,
    IdempotencyConflictError,
    NotFoundError,
)
from shared.jobs.cancel import cancel
from shared.jobs.claim import Claim, claim, renew
from shared.jobs.complete import complete, give_up, hand_back
from shared.jobs.entities import Job, JobRequest
from shared.jobs.outbox import send_due
from shared.jobs.queries import JobFilter, get_job, list_jobs
from shared.jobs.requeue import dead_letters, requeue
from shared.jobs.states import Priority, Status
from shared.jobs.submit import Submission, Upload, submit
from shared.jobs.sweep import Leases, announce_lost, sweep_expired, sweep_leases
from shared.queue.send import BrokerUnavailableError
from shared.storage import StorageUnavailableError
from shared.storage.s3 import S3Store
from shared.triage.result import ModelReference, field_result, triage_result
from tests.factories import smear_bytes

LEASE = 60
MAX_ATTEMPTS = 3
LIMITS = {"max_attempts": MAX_ATTEMPTS, "lease_seconds": LEASE}


class Recorder:
    """A broker that takes messages, or is down."""

    def __init__(self, *, down: bool = False) -> None:
        self.sent: list[tuple[uuid.UUID, str]] = []
        self.announced: list[dt.datetime] = []
        self.down = down

    def __call__(self, job_id: uuid.UUID, queue: str, announced_at: dt.datetime) -> None:
        if self.down:
            raise BrokerUnavailableError
        self.sent.append((job_id, queue))
        self.announced.append(announced_at)


@pytest.fixture
def key_id(sessions: Sessions) -> str:
    return create_key(sessions, "test", [Scope.SUBMIT])[0].id


def upload(seed: int = 1) -> Upload:
    data = smear_bytes(seed)
    return Upload(io.BytesIO(data), f"{seed:064d}", "image/png", len(data), 224, 224)


def post(
    sessions: Sessions,
    storage: S3Store,
    key_id: str,
    broker: Recorder | None = None,
    **changes: object,
) -> Submission:
    request = JobRequest(api_key_id=key_id, model_name="cnn_custom", model_version=1)
    request = replace(request, **changes)
    return submit(sessions, storage, broker or Recorder(), request, [upload()])


def take(sessions: Sessions, job: Job, worker: str = "w1", lease: float = LEASE) -> Claim | None:
    return claim(sessions, job.id, worker=worker, lease_seconds=lease)


def a_result(job_id: uuid.UUID):
    row = np.array([0.97, 0.01, 0.01, 0.01])
    model = ModelReference(name="m", version=1, sha256="", engine="openvino", precision="f32")
    fields = [field_result(0, row.astype(np.float32), row)]
    now = dt.datetime.now(dt.UTC)
    return triage_result(str(job_id), fields, [model], created_at=now, timings_ms={})


def count(sessions: Sessions, table: type) -> int:
    with sessions() as session:
        return session.scalar(select(func.count()).select_from(table))


def test_a_job_is_stored_announced_and_read_back(sessions, storage, key_id) -> None:
    broker = Recorder()
    job = post(sessions, storage, key_id, broker, priority=Priority.STAT).job
    assert broker.sent == [(job.id, "stat")]
    assert count(sessions, OutboxRow) == 0
    assert get_job(sessions, job.id) == job
    assert storage.get(job.images[0].object_key) == smear_bytes(1)


def test_intake_goes_on_while_the_broker_is_down_and_the_relay_catches_up(
    sessions, storage, key_id
) -> None:
    job = post(sessions, storage, key_id, Recorder(down=True)).job
    assert count(sessions, OutboxRow) == 1
    broker = Recorder()
    with sessions.begin() as session:
        assert send_due(session, broker, limit=10) == 1
    assert broker.sent == [(job.id, "routine")]
    assert count(sessions, OutboxRow) == 0


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
    assert get_job(sessions, job.id).status is Status.RUNNING


def test_a_result_is_written_once_with_its_audit_event(sessions, storage, key_id) -> None:
    job = post(sessions, storage, key_id).job
    held = take(sessions, job)
    assert complete(sessions, held, a_result(job.id))
    assert not complete(sessions, held, a_result(job.id))
    done = get_job(sessions, job.id)
    assert done.status is Status.SUCCEEDED
    assert done.result["prediction"] == "Benign"
    assert list(done.result["probabilities"]) == ["Benign", "Early", "Pre", "Pro"]
    with sessions() as session:
        actions = session.scalars(
            select(AuditRow.action).where(AuditRow.job_id == job.id).order_by(AuditRow.id)
        ).all()
    assert actions == ["job.submitted", "job.succeeded"]


def test_a_worker_that_lost_its_lease_cannot_complete(sessions, storage, key_id) -> None:
    job = post(sessions, storage, key_id).job
    late = take(sessions, job, "slow", lease=0)
    assert sweep_leases(sessions, **LIMITS) == Leases(requeued=1, dead=0)
    current = take(sessions, job, "quick")
    assert current.attempt == 2
    assert not complete(sessions, late, a_result(job.id))
    assert complete(sessions, current, a_result(job.id))
    assert count(sessions, ResultRow) == 1


def test_a_job_whose_workers_all_fall_silent_is_dead_with_a_reason(
    sessions, storage, key_id
) -> None:
    job = post(sessions, storage, key_id).job
    for _ in range(MAX_ATTEMPTS):
        assert take(sessions, job, lease=0)
        sweep_leases(sessions, **LIMITS)
    dead = get_job(sessions, job.id)
    assert (dead.status, dead.error.code) == (Status.DEAD, "lease_expired")
    assert take(sessions, job) is None


def test_a_permanent_error_fails_the_job_at_once(sessions, storage, key_id) -> None:
    job = post(sessions, storage, key_id).job
    give_up(sessions, take(sessions, job), CorruptImageError("x"), max_attempts=MAX_ATTEMPTS)
    failed = get_job(sessions, job.id)
    assert (failed.status, failed.error.code) == (Status.FAILED, "corrupt_image")


def test_an_outage_counts_against_no_job_however_long_it_lasts(sessions, storage, key_id) -> None:
    job = post(sessions, storage, key_id).job
    for attempt in range(1, 3 * MAX_ATTEMPTS):
        held = take(sessions, job)
        assert (held.attempt, held.isolated) == (attempt, False)
        give_up(sessions, held, StorageUnavailableError(), max_attempts=MAX_ATTEMPTS)
        with sessions.begin() as session:
            assert send_due(session, Recorder(), limit=10) == 0, "it waits before it is sent"
    assert get_job(sessions, job.id).status is Status.QUEUED


def test_an_outage_of_days_counts_neither(sessions, storage, key_id) -> None:
    job = post(sessions, storage, key_id).job
    with sessions.begin() as session:
        session.execute(text("UPDATE jobs SET attempts = 100000"))
    held = take(sessions, job)
    give_up(sessions, held, StorageUnavailableError(), max_attempts=MAX_ATTEMPTS)
    assert get_job(sessions, job.id).status is Status.QUEUED
    give_up(sessions, take(sessions, job), ValueError(), max_attempts=MAX_ATTEMPTS)
    assert get_job(sessions, job.id).status is Status.QUEUED


def test_a_result_of_another_job_is_refused(sessions, storage, key_id) -> None:
    job, other = (post(sessions, storage, key_id).job for _ in range(2))
    held = take(sessions, job)
    with pytest.raises(ValueError, match=str(other.id)):
        complete(sessions, held, a_result(other.id))
    assert count(sessions, ResultRow) == 0


def test_an_accepted_job_is_answered_where_the_database_goes_before_its_message_is_sent(
    sessions, storage, key_id
) -> None:
    class Gone(Recorder):
        def __call__(self, *_: object) -> None:
            raise OperationalError("SELECT", {}, Exception("gone"))

    assert post(sessions, storage, key_id, Gone()).created
    assert count(sessions, OutboxRow) == 1


def test_a_slow_broker_gets_a_few_messages_at_a_time(
    sessions, storage, key_id, monkeypatch
) -> None:
    for _ in range(3):
        post(sessions, storage, key_id, Recorder(down=True))
    monkeypatch.setattr("shared.jobs.outbox._LONGEST_SENDING_SECONDS", 0.0)
    broker = Recorder()
    for left in (2, 1, 0):
        with sessions.begin() as session:
            assert send_due(session, broker, limit=100) == 1
        assert count(sessions, OutboxRow) == left
    assert len(set(broker.sent)) == 3


def test_a_message_from_before_the_clock_was_set_back_makes_no_other_lost(
    sessions, storage, key_id
) -> None:
    broker = Broker()
    for _ in range(3):
        post(sessions, storage, key_id, broker)
    age(sessions, 30)
    broker.announced = [at + dt.timedelta(hours=1) for at in broker.announced]
    assert announce_lost(sessions, broker, after_seconds=10) == 0


def test_what_was_announced_before_the_clock_was_set_back_is_announced_again_once(
    sessions, storage, key_id
) -> None:
    broker = Broker()
    post(sessions, storage, key_id, broker)
    age(sessions, -3600)
    broker.announced = [at + dt.timedelta(hours=1) for at in broker.announced]
    assert announce_lost(sessions, broker, after_seconds=10) == 1
    with sessions.begin() as session:
        send_due(session, broker, limit=10)
    assert announce_lost(sessions, broker, after_seconds=10) == 0


def test_a_message_without_its_time_makes_nothing_lost(sessions, settings, sender) -> None:
    redis = Redis.from_url(settings.broker_url.get_secret_value())
    redis.delete("urgent")
    assert sender.oldest("urgent") is None
    redis.rpush("urgent", json.dumps({"headers": {}}))
    assert sender.oldest("urgent").year == 1970
    redis.delete("urgent")
    at = dt.datetime.now(dt.UTC)
    sender(uuid.uuid4(), "urgent", at)
    assert sender.oldest("urgent") == at
    redis.delete("urgent")


def test_an_unexpected_error_is_tried_again_and_not_for_ever(sessions, storage, key_id) -> None:
    job = post(sessions, storage, key_id).job
    for _ in range(MAX_ATTEMPTS):
        held = take(sessions, job)
        assert not held.isolated
        give_up(sessions, held, ValueError("a bug"), max_attempts=MAX_ATTEMPTS)
    dead = get_job(sessions, job.id)
    assert (dead.status, dead.error.code) == (Status.DEAD, "internal_error")


def test_a_job_that_crashed_is_retried_alone_and_not_for_ever(sessions, storage, key_id) -> None:
    job = post(sessions, storage, key_id).job
    for attempt in range(MAX_ATTEMPTS):
        held = take(sessions, job)
        assert held.isolated == (attempt > 0)
        give_up(sessions, held, AttemptCrashedError("SIGSEGV."), max_attempts=MAX_ATTEMPTS)
    dead = get_job(sessions, job.id)
    assert (dead.status, dead.error.code) == (Status.DEAD, "attempt_crashed")


def test_a_handed_back_job_has_nothing_counted_against_it(sessions, storage, key_id) -> None:
    job = post(sessions, storage, key_id).job
    for _ in range(2 * MAX_ATTEMPTS):
        held = take(sessions, job)
        assert not held.isolated
        hand_back(sessions, [held], max_attempts=MAX_ATTEMPTS)
    broker = Recorder()
    with sessions.begin() as session:
        send_due(session, broker, limit=100)
    assert set(broker.sent) == {(job.id, "routine")}


def test_a_hanging_worker_hands_back_all_and_suspects_one(sessions, storage, key_id) -> None:
    innocent, guilty = (take(sessions, post(sessions, storage, key_id).job) for _ in range(2))
    hand_back(sessions, [innocent, guilty], suspects=[guilty], max_attempts=MAX_ATTEMPTS)
    again = {
        job_id: claim(sessions, job_id, worker="w2", lease_seconds=LEASE).isolated
        for job_id in (innocent.job_id, guilty.job_id)
    }
    assert again == {innocent.job_id: False, guilty.job_id: True}


def test_a_heartbeat_keeps_a_claim_and_tells_which_are_lost(sessions, storage, key_id) -> None:
    kept, lost = (take(sessions, post(sessions, storage, key_id).job, lease=0) for _ in range(2))
    complete(sessions, lost, a_result(lost.job_id))
    assert renew(sessions, [kept, lost], lease_seconds=LEASE) == {kept.job_id}
    assert renew(sessions, [], lease_seconds=LEASE) == set()
    assert sweep_leases(sessions, **LIMITS) == Leases(requeued=0, dead=0)
    assert complete(sessions, kept, a_result(kept.job_id))


def test_a_lease_from_before_the_clock_was_set_back_has_ended(sessions, storage, key_id) -> None:
    take(sessions, post(sessions, storage, key_id).job, lease=3600)
    assert sweep_leases(sessions, **LIMITS) == Leases(requeued=1, dead=0)


def test_a_job_that_waits_too_long_is_dead_until_an_operator_requeues_it(
    sessions, storage, key_id
) -> None:
    job = post(sessions, storage, key_id, expire_after_seconds=0).job
    waiting = post(sessions, storage, key_id).job
    assert sweep_expired(sessions) == 1
    assert sweep_expired(sessions) == 0
    dead = get_job(sessions, job.id)
    assert (dead.status, dead.error.code) == (Status.DEAD, "expired")
    assert get_job(sessions, waiting.id).status is Status.QUEUED
    assert dead_letters(sessions) == dead_letters(sessions, code="expired") == [job.id]
    assert dead_letters(sessions, code="lease_expired") == []
    requeue(sessions, job.id, expire_after_seconds=60)
    assert get_job(sessions, job.id).error is None
    assert sweep_expired(sessions) == 0
    assert complete(sessions, take(sessions, job), a_result(job.id))
    with pytest.raises(ConflictError, match="succeeded"):
        requeue(sessions, job.id, expire_after_seconds=60)


def test_a_requeued_dead_job_has_all_of_its_attempts_again_and_runs_alone(
    sessions, storage, key_id
) -> None:
    job = post(sessions, storage, key_id).job
    for _ in range(2):
        for _ in range(MAX_ATTEMPTS):
            assert get_job(sessions, job.id).status is Status.QUEUED
            crashed = AttemptCrashedError("SIGSEGV.")
            give_up(sessions, take(sessions, job), crashed, max_attempts=MAX_ATTEMPTS)
        assert get_job(sessions, job.id).status is Status.DEAD
        requeue(sessions, job.id, expire_after_seconds=60)
    assert take(sessions, job).isolated
    with pytest.raises(ConflictError, match="running"):
        requeue(sessions, job.id, expire_after_seconds=60)


class Broker(Recorder):
    """A broker whose queues can be looked into."""

    def oldest(self, queue: str) -> dt.datetime | None:
        waiting = [
            at for at, (_, name) in zip(self.announced, self.sent, strict=True) if name == queue
        ]
        return waiting[0] if waiting else None


def age(sessions: Sessions, seconds: int) -> None:
    with sessions.begin() as session:
        session.execute(text(f"UPDATE jobs SET queued_at = queued_at - interval '{seconds} s'"))


def test_a_job_whose_message_the_broker_lost_is_announced_again(sessions, storage, key_id) -> None:
    broker = Broker()
    job = post(sessions, storage, key_id, broker).job
    age(sessions, 61)
    broker.sent.clear()
    broker.announced.clear()
    assert announce_lost(sessions, broker, after_seconds=60) == 1
    assert announce_lost(sessions, broker, after_seconds=60) == 0, "once is enough"
    with sessions.begin() as session:
        send_due(session, broker, limit=10)
    assert broker.sent == [(job.id, "routine")]


def test_a_backlog_is_not_announced_again_but_what_it_has_passed_is(
    sessions, storage, key_id
) -> None:
    broker = Broker()
    lost = post(sessions, storage, key_id, broker).job
    age(sessions, 100)
    for _ in range(3):
        post(sessions, storage, key_id, broker)
    other = post(sessions, storage, key_id, broker, priority=Priority.URGENT).job
    broker.announced = [at - dt.timedelta(seconds=50) for at in broker.announced]
    age(sessions, 50)
    for queue in (broker.sent, broker.announced):
        del queue[0]  # a killed worker took it
    assert announce_lost(sessions, broker, after_seconds=10) == 1
    with sessions.begin() as session:
        send_due(session, broker, limit=10)
    assert broker.sent[-1] == (lost.id, "routine")
    assert (other.id, "urgent") in broker.sent


def test_two_relays_send_each_message_once(sessions, storage, key_id) -> None:
    for _ in range(20):
        post(sessions, storage, key_id, Recorder(down=True))
    broker = Recorder()

    def relay(_: int) -> int:
        with sessions.begin() as session:
            return send_due(session, broker, limit=5)

    with ThreadPoolExecutor(4) as pool:
        sent = sum(pool.map(relay, range(4)))
    with sessions.begin() as session:
        sent += send_due(session, broker, limit=100)
    assert sent == 20
    assert len(set(broker.sent)) == len(broker.sent) == 20


def test_only_a_queued_job_can_be_cancelled(sessions, storage, key_id) -> None:
    job = post(sessions, storage, key_id).job
    cancel(sessions, job.id, actor="test")
    assert get_job(sessions, job.id).status is Status.CANCELLED
    assert take(sessions, job) is None
    with pytest.raises(ConflictError, match="cancelled"):
        cancel(sessions, job.id, actor="test")
    running = post(sessions, storage, key_id).job
    take(sessions, running)
    with pytest.raises(ConflictError, match="running"):
        cancel(sessions, running.id, actor="test")
    with pytest.raises(NotFoundError):
        cancel(sessions, uuid.uuid4(), actor="test")


def test_pages_list_every_job_once_newest_first(sessions, storage, key_id) -> None:
    posted = [post(sessions, storage, key_id).job.id for _ in range(7)]
    listed, cursor = [], None
    while True:
        page = list_jobs(sessions, JobFilter(), limit=3, cursor=cursor)
        listed += [job.id for job in page.jobs]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert listed == posted[::-1]


def test_jobs_are_filtered(sessions, storage, key_id) -> None:
    stat = post(sessions, storage, key_id, priority=Priority.STAT, accession_number="A-1").job
    other = post(sessions, storage, key_id).job
    complete(sessions, take(sessions, other), a_result(other.id))

    def ids(**criteria: object) -> set[uuid.UUID]:
        return {job.id for job in list_jobs(sessions, JobFilter(**criteria), limit=10).jobs}

    now = dt.datetime.now(dt.UTC)
    assert ids(priority=Priority.STAT) == ids(accession_number="A-1") == {stat.id}
    assert ids(status=Status.SUCCEEDED) == ids(urgency="routine") == {other.id}
    assert ids(urgency="urgent") == ids(submitted_from=now) == set()
    assert ids(submitted_to=now) == {stat.id, other.id}
