"""Finds jobs that nobody works on and puts them right."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from shared import audit
from shared.db.models import JobRow, OutboxRow
from shared.db.session import Sessions
from shared.jobs.outbox import announce
from shared.jobs.states import Status, transition

_BATCH = 500
_ACTOR = "service:sweeper"
LEASE_EXPIRED = "lease_expired"


@dataclass(frozen=True)
class Swept:
    """What one pass found: leases that ran out, and queued jobs whose message was lost."""

    requeued: int
    dead: int
    announced: int


def sweep(sessions: Sessions, *, max_attempts: int, requeue_after_seconds: float) -> Swept:
    """Make one pass.

    Args:
        sessions: The database.
        max_attempts: Attempts after which a job whose lease ran out is dead.
        requeue_after_seconds: Age at which a queued job with no message in the outbox is announced
            again; the broker may have lost its message. Where it had not, the second message finds
            the job claimed.
    """
    with sessions.begin() as session:
        requeued, dead = _expire_leases(session, max_attempts)
    with sessions.begin() as session:
        announced = _announce_forgotten(session, requeue_after_seconds)
    return Swept(requeued, dead, announced)


def _expire_leases(session: Session, max_attempts: int) -> tuple[int, int]:
    expired = session.scalars(
        select(JobRow)
        .where(JobRow.status == Status.RUNNING, JobRow.lease_expires_at < func.clock_timestamp())
        .limit(_BATCH)
        .with_for_update(skip_locked=True)
    ).all()
    dead = 0
    for job in expired:
        worker = job.worker
        if job.attempts >= max_attempts:
            dead += 1
            transition(
                session,
                job.id,
                Status.DEAD,
                finished_at=func.clock_timestamp(),
                error_code=LEASE_EXPIRED,
                error_detail=f"The worker of the last of {job.attempts} attempts fell silent.",
            )
            audit.record(session, _ACTOR, "job.dead", job.id, code=LEASE_EXPIRED, worker=worker)
        else:
            transition(session, job.id, Status.QUEUED, queued_at=func.clock_timestamp())
            announce(session, job)
            audit.record(session, _ACTOR, "job.requeued", job.id, worker=worker)
    return len(expired) - dead, dead


def _announce_forgotten(session: Session, after_seconds: float) -> int:
    age = dt.timedelta(seconds=after_seconds)
    pending = exists().where(OutboxRow.job_id == JobRow.id)
    forgotten = session.scalars(
        select(JobRow)
        .where(
            JobRow.status == Status.QUEUED,
            JobRow.queued_at < func.clock_timestamp() - age,
            ~pending,
        )
        .order_by(JobRow.queued_at)
        .limit(_BATCH)
        .with_for_update(skip_locked=True)
    ).all()
    for job in forgotten:
        # Counts its age anew, so that a long backlog is not announced again at each pass.
        job.queued_at = func.clock_timestamp()
        announce(session, job)
    return len(forgotten)
