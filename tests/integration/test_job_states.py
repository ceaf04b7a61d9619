"""The life of a job against a model of it, under any order of events.

Hypothesis interleaves what clients, workers, operators, the sweeper and time do to a few jobs, with
claims that were lost long ago among what it tries. After each step the database must be as the
model says.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine, create_engine, delete, select, text

from shared.auth.keys import Scope, create_key
from shared.auth.tenants import DEFAULT_TENANT
from shared.db.models import AuditRow, Base, JobRow, OutboxRow, ResultRow, WebhookRow
from shared.db.session import Sessions, create_sessions
from shared.errors import AttemptCrashedError, ConflictError, CorruptImageError
from shared.jobs.cancel import cancel
from shared.jobs.claim import Claim, claim, renew
from shared.jobs.complete import give_up, hand_back
from shared.jobs.entities import JobRequest
from shared.jobs.outbox import Outbox, send_due
from shared.jobs.requeue import requeue
from shared.jobs.states import Priority, Status
from shared.jobs.submit import submit
from shared.jobs.sweep import announce_lost, sweep_expired, sweep_leases
from shared.storage import StorageUnavailableError
from tests.integration.jobs import MAX_ATTEMPTS, finish

LEASE = 3600
MOST_JOBS = 3
ACTS = st.sampled_from(
    [
        "complete",
        "fail",
        "meet_an_outage",
        "meet_a_bug",
        "crash",
        "hand_back",
        "hang",
        "heartbeat",
        "fall_silent",
    ]
)
ENDS = tuple(f"job.{status}" for status in Status if status.is_final)


@dataclass
class Model:
    """What is to be true of one job."""

    status: Status = Status.QUEUED
    attempts: int = 0
    failures: int = 0
    isolated: bool = False
    holder: Claim | None = None
    lease_ended: bool = False
    wait_ended: bool = False
    error: str | None = None
    ends: list[str] = field(default_factory=list)

    def end(self, status: Status, error: str | None = None) -> None:
        self.status, self.error = status, error
        self.holder = None
        self.ends.append(f"job.{status}")

    def queue(self) -> None:
        self.status, self.error, self.holder = Status.QUEUED, None, None

    def count_failure(self, error: str) -> None:
        self.failures += 1
        self.isolated = True
        if self.failures >= MAX_ATTEMPTS:
            self.end(Status.DEAD, error)
        else:
            self.queue()


class JobLife(RuleBasedStateMachine):
    """Jobs in the database beside the model of each."""

    sessions: Sessions

    jobs: Bundle[uuid.UUID] = Bundle("jobs")
    claims: Bundle[Claim] = Bundle("claims")

    @initialize()
    def begin(self) -> None:
        with self.sessions.begin() as session:
            # The audit trail is append-only for whoever does not say so.
            session.execute(text("SET LOCAL hemotriage.audit_prune = 'on'"))
            for table in reversed(Base.metadata.sorted_tables):
                session.execute(delete(table))
        self.key = create_key(self.sessions, "test", [Scope.SUBMIT])[0].id
        self.models: dict[uuid.UUID, Model] = {}

    def unfinished(self) -> int:
        return sum(not model.status.is_final for model in self.models.values())

    # What clients do.

    @precondition(lambda self: self.unfinished() < MOST_JOBS)
    @rule(target=jobs, priority=st.sampled_from(Priority))
    def submit(self, priority: Priority) -> uuid.UUID:
        request = JobRequest(
            self.key,
            "m",
            1,
            priority=priority,
            callback_url="https://lis.example/hook",
            tenant=DEFAULT_TENANT,
        )
        outbox = Outbox(self.sessions, lambda *_: None)
        job = submit(self.sessions, None, outbox, request, []).job
        outbox.flush()
        self.models[job.id] = Model()
        return job.id

    @rule(job_id=jobs)
    def cancel(self, job_id: uuid.UUID) -> None:
        model = self.models[job_id]
        if model.status is Status.QUEUED:
            cancel(self.sessions, job_id, actor="test", tenant=DEFAULT_TENANT)
            model.end(Status.CANCELLED)
        else:
            with pytest.raises(ConflictError):
                cancel(self.sessions, job_id, actor="test", tenant=DEFAULT_TENANT)

    # What workers do, with claims of any age.

    @rule(target=claims, job_id=jobs, worker=st.sampled_from("ab"))
    def claim(self, job_id: uuid.UUID, worker: str) -> Claim:
        """A message is delivered, wanted or not."""
        model = self.models[job_id]
        held = claim(self.sessions, [job_id], worker=worker, lease_seconds=LEASE).get(job_id)
        assert (held is not None) == (model.status is Status.QUEUED)
        if held is None:
            return multiple()
        model.status, model.holder, model.lease_ended = Status.RUNNING, held, False
        model.attempts += 1
        assert (held.attempt, held.isolated) == (model.attempts, model.isolated)
        return held

    @rule(held=claims, act=ACTS)
    def act_on_any_claim(self, held: Claim, act: str) -> None:
        """A worker that may have lost the job long ago."""
        getattr(self, act)(held)

    @rule(target=claims, job_id=jobs, acts=st.lists(ACTS, min_size=3, max_size=9))
    def act_on_the_claim_that_holds(self, job_id: uuid.UUID, acts: list[str]) -> Claim:
        """Workers that have the job, one after the other."""
        claims = []
        for act in acts:
            held = self.models[job_id].holder
            if held is None:
                held = self.claim(job_id, "a")
            if not isinstance(held, Claim):
                break
            claims.append(held)
            getattr(self, act)(held)
            self.the_database_is_as_the_model_says()
        return multiple(*claims)

    def heartbeat(self, held: Claim) -> None:
        model = self.models[held.job_id]
        holds = model.holder == held
        kept = renew(self.sessions, [held], lease_seconds=LEASE)
        assert kept == ({held.job_id} if holds else set())
        if holds:
            model.lease_ended = False

    def complete(self, held: Claim) -> None:
        model = self.models[held.job_id]
        holds = model.holder == held
        assert finish(self.sessions, held) == holds
        if holds:
            model.end(Status.SUCCEEDED)

    def fail(self, held: Claim) -> None:
        if self._give_up(held, CorruptImageError()):
            self.models[held.job_id].end(Status.FAILED, "corrupt_image")

    def meet_an_outage(self, held: Claim) -> None:
        if self._give_up(held, StorageUnavailableError()):
            self.models[held.job_id].queue()

    def meet_a_bug(self, held: Claim) -> None:
        if self._give_up(held, ValueError()):
            self.models[held.job_id].count_failure("internal_error")

    def crash(self, held: Claim) -> None:
        if self._give_up(held, AttemptCrashedError()):
            self.models[held.job_id].count_failure("attempt_crashed")

    def _give_up(self, held: Claim, error: Exception) -> bool:
        give_up(self.sessions, held, error, max_attempts=MAX_ATTEMPTS)
        return self.models[held.job_id].holder == held

    def hand_back(self, held: Claim) -> None:
        hand_back(self.sessions, [held], max_attempts=MAX_ATTEMPTS)
        if self.models[held.job_id].holder == held:
            self.models[held.job_id].queue()

    def hang(self, held: Claim) -> None:
        hand_back(self.sessions, [held], suspects=[held], max_attempts=MAX_ATTEMPTS)
        if self.models[held.job_id].holder == held:
            self.models[held.job_id].count_failure("attempt_hung")

    def fall_silent(self, held: Claim) -> None:
        with self.sessions.begin() as session:
            session.execute(
                text(
                    "UPDATE jobs SET lease_expires_at = now() - interval '1 s' "
                    "WHERE id = :id AND status = 'running'"
                ),
                {"id": held.job_id},
            )
        self.models[held.job_id].lease_ended = True
        self.sweep_leases()

    # What time, the sweeper and operators do.

    @rule(job_id=jobs)
    def end_waiting(self, job_id: uuid.UUID) -> None:
        with self.sessions.begin() as session:
            session.execute(
                text("UPDATE jobs SET expires_at = now() - interval '1 s' WHERE id = :id"),
                {"id": job_id},
            )
        self.models[job_id].wait_ended = True

    @rule()
    def sweep_leases(self) -> None:
        sweep_leases(self.sessions, max_attempts=MAX_ATTEMPTS, lease_seconds=LEASE)
        for model in self.models.values():
            if model.status is Status.RUNNING and model.lease_ended:
                model.count_failure("lease_expired")

    @rule()
    def sweep_expired(self) -> None:
        sweep_expired(self.sessions)
        for model in self.models.values():
            if model.status is Status.QUEUED and model.wait_ended:
                model.end(Status.DEAD, "expired")

    @rule(job_id=jobs)
    def requeue(self, job_id: uuid.UUID) -> None:
        model = self.models[job_id]
        if model.status in (Status.DEAD, Status.FAILED):
            requeue(self.sessions, job_id, expire_after_seconds=LEASE, tenant=DEFAULT_TENANT)
            model.queue()
            model.failures, model.wait_ended = 0, False
        else:
            with pytest.raises(ConflictError):
                requeue(self.sessions, job_id, expire_after_seconds=LEASE, tenant=DEFAULT_TENANT)

    @rule()
    def lose_and_find_messages(self) -> None:
        """The broker takes every message and loses it; the sweeper finds out, and once."""
        with self.sessions.begin() as session:
            session.execute(text("UPDATE outbox SET send_after = now()"))
        with self.sessions.begin() as session:
            send_due(session, lambda *_: None, limit=1000)
        queued = {job_id for job_id, model in self.models.items() if model.status is Status.QUEUED}
        for found in (len(queued), 0):
            with self.sessions.begin() as session:
                session.execute(text("UPDATE jobs SET queued_at = now() - interval '60 s'"))
            assert announce_lost(self.sessions, Emptied(), after_seconds=10) == found
        with self.sessions() as session:
            assert set(session.scalars(select(OutboxRow.job_id))) == queued

    @invariant()
    def the_database_is_as_the_model_says(self) -> None:
        with self.sessions() as session:
            rows = session.scalars(select(JobRow)).all()
            results = set(session.scalars(select(ResultRow.job_id)))
        assert len(rows) == len(self.models)
        for row in rows:
            model = self.models[row.id]
            seen = (row.status, row.attempts, row.failures, row.isolated, row.error_code)
            assert seen == (
                model.status,
                model.attempts,
                model.failures,
                model.isolated,
                model.error,
            )
            assert row.worker == (model.holder.worker if model.holder else None)
        succeeded = {
            job_id for job_id, model in self.models.items() if model.status is Status.SUCCEEDED
        }
        assert results == succeeded

    @invariant()
    def every_end_is_told_once_to_the_audit_trail_and_to_the_client(self) -> None:
        expected = sorted((job_id, end) for job_id, m in self.models.items() for end in m.ends)
        with self.sessions() as session:
            audited = session.execute(
                select(AuditRow.job_id, AuditRow.action).where(AuditRow.action.in_(ENDS))
            )
            told = session.execute(select(WebhookRow.job_id, WebhookRow.event))
            assert sorted(map(tuple, audited)) == expected
            assert sorted(map(tuple, told)) == expected


class Emptied:
    """A broker that lost everything."""

    def oldest(self, queue: str) -> None:
        return None


@pytest.fixture
def quick_sessions(database: Engine) -> Iterator[Sessions]:
    """Sessions that do not wait for the disk at each commit."""
    options = {"options": "-c synchronous_commit=off"}
    engine = create_engine(database.url, connect_args=options)
    yield create_sessions(engine)
    engine.dispose()


def test_any_order_of_events_leaves_each_job_with_one_end(quick_sessions: Sessions) -> None:
    JobLife.sessions = quick_sessions
    run_state_machine_as_test(
        JobLife,
        settings=settings(
            max_examples=60,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
