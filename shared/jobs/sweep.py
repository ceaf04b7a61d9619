"""Finds jobs that nobody works on and puts them right."""

from __future__ import annotations

import datetime as dt
import logging
from dataclasses import dataclass

from sqlalchemy import and_, exists, func, literal, or_, select
from sqlalchemy.orm import Session

from shared import audit
from shared.db.models import JobRow, OutboxRow
from shared.db.session import Sessions
from shared.jobs.ending import tell_end
from shared.jobs.outbox import announce
from shared.jobs.states import Priority, Status, transition
from shared.queue.send import QueueView
from shared.telemetry.about import Origin, ids_of

_log = logging.getLogger(__name__)

_BATCH = 500
_ACTOR = "service:sweeper"
LEASE_EXPIRED = "lease_expired"
EXPIRED = "expired"
_NOW = func.statement_timestamp()
"""What rows are compared with: no index is searched for `clock_timestamp`, whose value may change
within a statement."""


@dataclass(frozen=True)
class Leases:
    """What one pass over the leases found: jobs queued again, and jobs given up as dead."""

    requeued: int
    dead: int


def sweep_leases(sessions: Sessions, *, max_attempts: int, lease_seconds: float) -> Leases:
    """Take jobs from workers that fell silent.

    Their worker may have crashed over one of them: each has it counted as a failure, and is
    retried alone.

    Args:
        sessions: The database.
        max_attempts: Failures after which a job is dead.
        lease_seconds: The length of a lease; one that ends later than that from now was written
            before the database's clock was set back, and has ended too.
    """
    furthest = _NOW + dt.timedelta(seconds=2 * lease_seconds)
    ended = or_(JobRow.lease_expires_at < _NOW, JobRow.lease_expires_at > furthest)
    dead = 0
    with sessions.begin() as session:
        jobs = session.scalars(
            select(JobRow)
            .where(JobRow.status == Status.RUNNING, ended)
            .limit(_BATCH)
            .with_for_update(skip_locked=True)
        ).all()
        for job in jobs:
            dead += _end_lease(session, job, max_attempts)
    return Leases(len(jobs) - dead, dead)


def sweep_expired(sessions: Sessions) -> int:
    """End jobs that waited too long; returns how many."""
    with sessions.begin() as session:
        expired = session.scalars(
            select(JobRow.id)
            .where(JobRow.status == Status.QUEUED, JobRow.expires_at < _NOW)
            .limit(_BATCH)
            .with_for_update(skip_locked=True)
        ).all()
        for job_id in expired:
            row = transition(
                session,
                job_id,
                Status.DEAD,
                finished_at=func.clock_timestamp(),
                error_code=EXPIRED,
                error_detail="It waited for a worker until its time was over.",
            )
            if row is not None:
                tell_end(session, row, _ACTOR, code=EXPIRED)
                _tell(row, EXPIRED)
    return len(expired)


def announce_lost(sessions: Sessions, queues: QueueView, *, after_seconds: float) -> int:
    """Announce queued jobs again whose message is gone from the broker; returns how many.

    A queue gives its messages in the order of their announcement. A job that was announced before
    the message which is next, and has none in the outbox, so has lost its own: the broker lost it,
    or a worker took it and was killed before it claimed the job.

    Args:
        sessions: The database.
        queues: The broker.
        after_seconds: How much older than the next message a job must be, for messages under way.

    Raises:
        BrokerUnavailableError: The broker does not answer.
    """
    return sum(_announce_lost(sessions, queues, queue, after_seconds) for queue in Priority)


def _end_lease(session: Session, job: JobRow, max_attempts: int) -> bool:
    """Take a locked job from its worker; True where that makes it dead."""
    worker, counted = job.worker, {"failures": job.failures + 1, "isolated": True}
    if job.failures + 1 >= max_attempts:
        row = transition(
            session,
            job.id,
            Status.DEAD,
            finished_at=func.clock_timestamp(),
            error_code=LEASE_EXPIRED,
            error_detail="The worker of its last attempt fell silent.",
            **counted,
        )
        if row is not None:
            tell_end(session, row, _ACTOR, code=LEASE_EXPIRED, worker=worker)
            _tell(row, LEASE_EXPIRED)
        return row is not None
    row = transition(session, job.id, Status.QUEUED, **counted)
    if row is not None:
        announce(session, row)
        audit.record(session, _ACTOR, "job.requeued", job.id, code=LEASE_EXPIRED, worker=worker)
        _tell(row, LEASE_EXPIRED)
    return False


def _tell(job: JobRow, code: str) -> None:
    ids = ids_of(job.id, Origin(job.request_id))
    _log.warning("job swept", extra={**ids, "code": code, "status": job.status})


def _announce_lost(
    sessions: Sessions, queues: QueueView, queue: Priority, after_seconds: float
) -> int:
    following = queues.oldest(queue)
    margin = dt.timedelta(seconds=after_seconds)
    before = _NOW if following is None else literal(following)
    pending = exists().where(OutboxRow.job_id == JobRow.id)
    # A time ahead of the clock was written before the clock was set back. A message with such a
    # time tells nothing of the others.
    passed = or_(
        and_(before <= _NOW, JobRow.queued_at < before - margin),
        JobRow.queued_at > _NOW + 2 * margin,
    )
    with sessions.begin() as session:
        lost = session.scalars(
            select(JobRow)
            .where(JobRow.status == Status.QUEUED, JobRow.priority == queue, passed, ~pending)
            .order_by(JobRow.queued_at)
            .limit(_BATCH)
            .with_for_update(skip_locked=True)
        ).all()
        for job in lost:
            announce(session, job)
    return len(lost)
