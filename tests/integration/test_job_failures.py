"""What goes wrong with a job: attempts that end badly, workers that fall silent, waits too long."""

import pytest
from sqlalchemy import text

from shared.auth.tenants import DEFAULT_TENANT
from shared.db.models import ResultRow
from shared.errors import (
    AttemptCrashedError,
    ConflictError,
    CorruptImageError,
)
from shared.jobs.claim import claim, renew
from shared.jobs.complete import complete, give_up, hand_back
from shared.jobs.outbox import send_due
from shared.jobs.queries import get_job
from shared.jobs.requeue import dead_letters, requeue
from shared.jobs.states import Status
from shared.jobs.sweep import Leases, sweep_expired, sweep_leases
from shared.models.prediction import NoNumberError
from shared.storage import StorageUnavailableError
from tests.integration.jobs import (
    LEASE,
    LIMITS,
    MAX_ATTEMPTS,
    Recorder,
    a_result,
    count,
    finish,
    post,
    take,
)


def test_a_worker_that_lost_its_lease_cannot_complete(sessions, storage, key_id) -> None:
    job = post(sessions, storage, key_id).job
    late = take(sessions, job, "slow", lease=0)
    assert sweep_leases(sessions, **LIMITS) == Leases(requeued=1, dead=0)
    current = take(sessions, job, "quick")
    assert current.attempt == 2
    assert not finish(sessions, late)
    assert finish(sessions, current)
    assert count(sessions, ResultRow) == 1


def test_a_job_whose_workers_all_fall_silent_is_dead_with_a_reason(
    sessions, storage, key_id
) -> None:
    job = post(sessions, storage, key_id).job
    for _ in range(MAX_ATTEMPTS):
        assert take(sessions, job, lease=0)
        sweep_leases(sessions, **LIMITS)
    dead = get_job(sessions, job.id, tenant=DEFAULT_TENANT)
    assert (dead.status, dead.error.code) == (Status.DEAD, "lease_expired")
    assert take(sessions, job) is None


def test_a_permanent_error_fails_the_job_at_once(sessions, storage, key_id) -> None:
    job = post(sessions, storage, key_id).job
    give_up(sessions, take(sessions, job), CorruptImageError("x"), max_attempts=MAX_ATTEMPTS)
    failed = get_job(sessions, job.id, tenant=DEFAULT_TENANT)
    assert (failed.status, failed.error.code) == (Status.FAILED, "corrupt_image")


def test_an_outage_counts_against_no_job_however_long_it_lasts(sessions, storage, key_id) -> None:
    job = post(sessions, storage, key_id).job
    for attempt in range(1, 3 * MAX_ATTEMPTS):
        held = take(sessions, job)
        assert (held.attempt, held.isolated) == (attempt, False)
        give_up(sessions, held, StorageUnavailableError(), max_attempts=MAX_ATTEMPTS)
        with sessions.begin() as session:
            assert send_due(session, Recorder(), limit=10) == 0, "it waits before it is sent"
    assert get_job(sessions, job.id, tenant=DEFAULT_TENANT).status is Status.QUEUED


def test_an_outage_of_days_counts_neither(sessions, storage, key_id) -> None:
    job = post(sessions, storage, key_id).job
    with sessions.begin() as session:
        session.execute(text("UPDATE jobs SET attempts = 100000"))
    held = take(sessions, job)
    give_up(sessions, held, StorageUnavailableError(), max_attempts=MAX_ATTEMPTS)
    assert get_job(sessions, job.id, tenant=DEFAULT_TENANT).status is Status.QUEUED
    give_up(sessions, take(sessions, job), ValueError(), max_attempts=MAX_ATTEMPTS)
    assert get_job(sessions, job.id, tenant=DEFAULT_TENANT).status is Status.QUEUED


def test_a_result_of_another_job_is_refused(sessions, storage, key_id) -> None:
    job, other = (post(sessions, storage, key_id).job for _ in range(2))
    held = take(sessions, job)
    with pytest.raises(ValueError, match=str(other.id)):
        complete(sessions, [(held, a_result(other.id))])
    assert count(sessions, ResultRow) == 0


def test_an_unexpected_error_is_tried_again_and_not_for_ever(sessions, storage, key_id) -> None:
    job = post(sessions, storage, key_id).job
    for attempt in range(MAX_ATTEMPTS):
        held = take(sessions, job)
        assert held.isolated == (attempt > 0), "it may be the process that is broken"
        give_up(sessions, held, ValueError("a bug"), max_attempts=MAX_ATTEMPTS)
    dead = get_job(sessions, job.id, tenant=DEFAULT_TENANT)
    assert (dead.status, dead.error.code) == (Status.DEAD, "internal_error")


def test_an_answer_that_is_no_number_is_asked_for_again_alone(sessions, storage, key_id) -> None:
    mended, lasting = (post(sessions, storage, key_id).job for _ in range(2))
    for job in (mended, lasting):
        held = take(sessions, job)
        assert not held.isolated
        give_up(sessions, held, NoNumberError(), max_attempts=MAX_ATTEMPTS)
        assert get_job(sessions, job.id, tenant=DEFAULT_TENANT).status is Status.QUEUED
    again, last = (take(sessions, job) for job in (mended, lasting))
    assert again.isolated
    assert last.isolated
    assert finish(sessions, again), "it was the engine of the first process"
    give_up(sessions, last, NoNumberError(), max_attempts=MAX_ATTEMPTS)
    failed = get_job(sessions, lasting.id, tenant=DEFAULT_TENANT)
    assert (failed.status, failed.error.code) == (Status.FAILED, "model_gives_no_number")


def test_a_job_that_crashed_is_retried_alone_and_not_for_ever(sessions, storage, key_id) -> None:
    job = post(sessions, storage, key_id).job
    for attempt in range(MAX_ATTEMPTS):
        held = take(sessions, job)
        assert held.isolated == (attempt > 0)
        give_up(sessions, held, AttemptCrashedError("SIGSEGV."), max_attempts=MAX_ATTEMPTS)
    dead = get_job(sessions, job.id, tenant=DEFAULT_TENANT)
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
        job_id: held.isolated
        for job_id, held in claim(
            sessions, [innocent.job_id, guilty.job_id], worker="w2", lease_seconds=LEASE
        ).items()
    }
    assert again == {innocent.job_id: False, guilty.job_id: True}


def test_a_heartbeat_keeps_a_claim_and_tells_which_are_lost(sessions, storage, key_id) -> None:
    kept, lost = (take(sessions, post(sessions, storage, key_id).job, lease=0) for _ in range(2))
    finish(sessions, lost)
    assert renew(sessions, [kept, lost], lease_seconds=LEASE) == {kept.job_id}
    assert renew(sessions, [], lease_seconds=LEASE) == set()
    assert sweep_leases(sessions, **LIMITS) == Leases(requeued=0, dead=0)
    assert finish(sessions, kept)


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
    dead = get_job(sessions, job.id, tenant=DEFAULT_TENANT)
    assert (dead.status, dead.error.code) == (Status.DEAD, "expired")
    assert get_job(sessions, waiting.id, tenant=DEFAULT_TENANT).status is Status.QUEUED
    assert dead_letters(sessions) == dead_letters(sessions, code="expired") == [job.id]
    assert dead_letters(sessions, code="lease_expired") == []
    requeue(sessions, job.id, expire_after_seconds=60, tenant=DEFAULT_TENANT)
    assert get_job(sessions, job.id, tenant=DEFAULT_TENANT).error is None
    assert sweep_expired(sessions) == 0
    assert finish(sessions, take(sessions, job))
    with pytest.raises(ConflictError, match="succeeded"):
        requeue(sessions, job.id, expire_after_seconds=60, tenant=DEFAULT_TENANT)


def test_a_requeued_dead_job_has_all_of_its_attempts_again_and_runs_alone(
    sessions, storage, key_id
) -> None:
    job = post(sessions, storage, key_id).job
    for _ in range(2):
        for _ in range(MAX_ATTEMPTS):
            assert get_job(sessions, job.id, tenant=DEFAULT_TENANT).status is Status.QUEUED
            crashed = AttemptCrashedError("SIGSEGV.")
            give_up(sessions, take(sessions, job), crashed, max_attempts=MAX_ATTEMPTS)
        assert get_job(sessions, job.id, tenant=DEFAULT_TENANT).status is Status.DEAD
        requeue(sessions, job.id, expire_after_seconds=60, tenant=DEFAULT_TENANT)
    assert take(sessions, job).isolated
    with pytest.raises(ConflictError, match="running"):
        requeue(sessions, job.id, expire_after_seconds=60, tenant=DEFAULT_TENANT)
