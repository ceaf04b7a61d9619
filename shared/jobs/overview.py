"""How the queues of jobs stand, for whoever operates them.

Counts are of the whole service, which has one queue a priority; what names a job is a tenant's.

All is read from the database, which alone decides what a job is: messages of the broker may be
lost, or there twice.
"""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass

from sqlalchemy import func, or_, select, text

from shared.auth.tenants import within
from shared.db.models import AuditRow, JobRow, OutboxRow
from shared.db.session import Sessions, execute
from shared.jobs.entities import Job, job_from_row
from shared.jobs.queries import whole_jobs
from shared.jobs.states import Priority, Status

SPAN = dt.timedelta(hours=1)
"""What throughput and redeliveries are counted over."""

_RETURNS_LOOKED_AT = 10_000
_UNSUCCESSFUL = (Status.FAILED, Status.DEAD)
_ENDS = [f"job.{status}" for status in _UNSUCCESSFUL]
_REQUEUED = "job.requeued"

# By `now` and not by `clock_timestamp`, whose value may change within a statement: no index is
# searched for that.
_THROUGHPUT = text(
    """
    SELECT minute, coalesce(succeeded, 0) AS succeeded, coalesce(unsuccessful, 0) AS unsuccessful
    FROM generate_series(
        date_trunc('minute', clock_timestamp() - CAST(:span AS interval)),
        date_trunc('minute', clock_timestamp()), interval '1 minute'
    ) AS minute
    LEFT JOIN (
        SELECT date_trunc('minute', created_at) AS minute, count(*) AS succeeded FROM results
        WHERE created_at > now() - CAST(:span AS interval) GROUP BY 1
    ) AS good USING (minute)
    LEFT JOIN (
        SELECT date_trunc('minute', at) AS minute, count(*) AS unsuccessful FROM audit_events
        WHERE action = ANY(:ends) AND at > now() - CAST(:span AS interval) GROUP BY 1
    ) AS bad USING (minute)
    ORDER BY minute
    """
)


@dataclass(frozen=True)
class Depth:
    """How many jobs of a priority wait, how many run, and since when the oldest has waited.

    `oldest_at` counts from a job's last return to its queue, `oldest_seconds` from its submission,
    by the clock of the database; 0 where none waits.
    """

    priority: Priority
    queued: int
    running: int
    oldest_at: dt.datetime | None
    oldest_seconds: float


@dataclass(frozen=True)
class RunningJob:
    """A job in a worker's hands, and until when it has the lease that it renews meanwhile."""

    id: uuid.UUID
    priority: Priority
    model: str
    worker: str
    attempts: int
    isolated: bool
    started_at: dt.datetime
    lease_expires_at: dt.datetime


@dataclass(frozen=True)
class Unsent:
    """How many messages are due in the outbox, and for how long the oldest of them; 0 if none."""

    count: int
    oldest_seconds: float


@dataclass(frozen=True)
class Minute:
    """What ended in the minute that began at `at`."""

    at: dt.datetime
    succeeded: int
    unsuccessful: int


def depths(sessions: Sessions) -> list[Depth]:
    """The queue of each priority, whether or not anything waits in it."""
    age = func.clock_timestamp() - func.min(JobRow.submitted_at)
    statement = (
        select(
            JobRow.priority,
            JobRow.status,
            func.count().label("jobs"),
            func.min(JobRow.queued_at).label("oldest_at"),
            func.extract("epoch", age).label("oldest_seconds"),
        )
        # Not `in_`: each of the two has an index of its own, and all jobs would be read.
        .where(or_(JobRow.status == Status.QUEUED, JobRow.status == Status.RUNNING))
        .group_by(JobRow.priority, JobRow.status)
    )
    rows = {(row.priority, row.status): row for row in execute(sessions, statement)}
    depths = []
    for priority in Priority:
        queued, running = (
            rows.get((priority, status)) for status in (Status.QUEUED, Status.RUNNING)
        )
        depths.append(
            Depth(
                priority,
                queued=queued.jobs if queued else 0,
                running=running.jobs if running else 0,
                oldest_at=queued.oldest_at if queued else None,
                oldest_seconds=max(0.0, float(queued.oldest_seconds)) if queued else 0.0,
            )
        )
    return depths


def running_jobs(sessions: Sessions, *, tenant: str | None, limit: int) -> list[RunningJob]:
    """Jobs in workers' hands, those first whose lease ends first."""
    job = JobRow
    statement = (
        select(
            *(job.id, job.priority, job.worker, job.attempts, job.isolated),
            *(job.started_at, job.lease_expires_at),
            func.concat(job.model_name, "@", job.model_version).label("model"),
        )
        .where(job.status == Status.RUNNING, within(job.tenant, tenant))
        .order_by(job.lease_expires_at)
        .limit(limit)
    )
    return [RunningJob(**row._mapping) for row in execute(sessions, statement)]


def throughput(sessions: Sessions) -> list[Minute]:
    """What ended in each minute of `SPAN`, oldest first, the running minute included."""
    rows = execute(sessions, _THROUGHPUT, {"span": SPAN, "ends": _ENDS})
    return [Minute(row.minute, row.succeeded, row.unsuccessful) for row in rows]


def redeliveries(sessions: Sessions) -> dict[str, int]:
    """How often jobs were given back to their queue within `SPAN`, by the code of the reason.

    The newest 10,000 are looked at: the trail has all that ever were, and no index of their times.
    """
    newest = (
        select(AuditRow.details["code"].astext.label("code"), AuditRow.at)
        .where(AuditRow.action == _REQUEUED)
        # By the action too, which is always the same, or the whole trail may be read backwards.
        .order_by(AuditRow.action.desc(), AuditRow.id.desc())
        .limit(_RETURNS_LOOKED_AT)
        .subquery()
    )
    code, times = newest.c.code, func.count().label("times")
    recent = newest.c.at > func.clock_timestamp() - SPAN
    statement = select(code, times).where(recent).group_by(code).order_by(times.desc())
    return {str(row.code): row.times for row in execute(sessions, statement)}


def unsent_messages(sessions: Sessions) -> Unsent:
    """Messages that are due and have not reached the broker."""
    now = func.now()  # an index is searched for it, as it is not for `clock_timestamp`
    age = func.extract("epoch", now - func.min(OutboxRow.send_after))
    statement = select(func.count().label("messages"), age.label("age"))
    (found,) = execute(sessions, statement.where(OutboxRow.send_after <= now))
    return Unsent(found.messages, float(found.age or 0))


def unsuccessful_jobs(sessions: Sessions, *, tenant: str | None, limit: int) -> list[Job]:
    """Jobs that are dead or failed, those first that ended last."""
    statement = (
        whole_jobs()
        .where(within(JobRow.tenant, tenant), JobRow.status.in_(_UNSUCCESSFUL))
        .order_by(JobRow.finished_at.desc())
        .limit(limit)
    )
    return [job_from_row(row) for row in execute(sessions, statement)]
