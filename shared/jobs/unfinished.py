"""Jobs as people follow them: what runs, what waits and where, and what a key has sent lately."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, Select, case, func, literal, select, tuple_, union_all
from sqlalchemy.orm import aliased

from shared.auth.tenants import within
from shared.db.models import JobRow, ResultRow
from shared.db.session import Sessions, execute
from shared.jobs.states import Priority, Status
from shared.retention.removed import unknown_job
from shared.triage.policy import Urgency


@dataclass(frozen=True)
class Progress:
    """How far a job is.

    Attributes:
        place: In the queue of its priority, which all tenants share, from 1; None: it does not
            wait.
        urgency: Of its result; None: it has none.
        error_code: Why it failed or died.
    """

    id: uuid.UUID
    status: Status
    priority: Priority
    accession_number: str | None
    specimen_id: str | None
    submitted_at: dt.datetime
    place: int | None
    urgency: Urgency | None
    error_code: str | None


@dataclass(frozen=True)
class Load:
    """How many jobs run, and how many wait."""

    running: int
    queued: int


def unfinished(sessions: Sessions, *, tenant: str | None, most: int) -> list[Progress]:
    """Jobs that run, then those that wait, in the order in which workers look at the queues."""
    of_tenant = within(JobRow.tenant, tenant)
    running = (
        select(JobRow.id, literal(0).label("queue"), JobRow.submitted_at.label("at"))
        .where(JobRow.status == Status.RUNNING, of_tenant)
        .order_by(JobRow.submitted_at)
        .limit(most)
    )
    waiting = [
        select(JobRow.id, literal(number).label("queue"), JobRow.queued_at.label("at"))
        .where(JobRow.status == Status.QUEUED, JobRow.priority == priority, of_tenant)
        .order_by(JobRow.queued_at)
        .limit(most)
        for number, priority in enumerate(Priority, start=1)
    ]
    parts = (select(part.subquery()) for part in (running, *waiting))
    found = union_all(*parts).subquery()
    order = (found.c.queue, found.c.at, found.c.id)
    first = select(found).order_by(*order).limit(most).subquery()
    whole = _progress().join(first, first.c.id == JobRow.id)
    rows = execute(sessions, whole.order_by(first.c.queue, first.c.at, first.c.id))
    return [_of_row(row) for row in rows]


def load(sessions: Sessions, *, tenant: str | None) -> Load:
    """Count the jobs that are not finished."""
    running, queued = (
        select(func.count())
        .where(JobRow.status == status, within(JobRow.tenant, tenant))
        .scalar_subquery()
        for status in (Status.RUNNING, Status.QUEUED)
    )
    statement = select(running.label("running"), queued.label("queued"))
    (row,) = execute(sessions, statement)
    return Load(row.running, row.queued)


def sent_by(sessions: Sessions, api_key_id: str, *, most: int) -> list[Progress]:
    """The last jobs that a key has sent, the newest first."""
    statement = (
        _progress()
        .where(JobRow.api_key_id == api_key_id)
        .order_by(JobRow.submitted_at.desc(), JobRow.id.desc())
        .limit(most)
    )
    return [_of_row(row) for row in execute(sessions, statement)]


def progress_of(sessions: Sessions, job_id: uuid.UUID, *, tenant: str | None) -> Progress:
    """How far one job is.

    Raises:
        NotFoundError: The tenant has no such job.
    """
    rows = execute(sessions, _progress().where(JobRow.id == job_id, within(JobRow.tenant, tenant)))
    if not rows:
        raise unknown_job(sessions, job_id, tenant=tenant)
    return _of_row(rows[0])


def _progress() -> Select[Any]:
    other = aliased(JobRow)
    before = (
        select(func.count())
        .where(
            other.status == Status.QUEUED,
            other.priority == JobRow.priority,
            tuple_(other.queued_at, other.id) <= tuple_(JobRow.queued_at, JobRow.id),
        )
        .scalar_subquery()
    )
    row = JobRow
    return select(
        *(row.id, row.status, row.priority, row.accession_number, row.specimen_id),
        *(row.submitted_at, row.error_code, ResultRow.urgency),
        case((row.status == Status.QUEUED, before)).label("place"),
    ).outerjoin(ResultRow, ResultRow.job_id == row.id)


def _of_row(row: Row[Any]) -> Progress:
    return Progress(
        id=row.id,
        status=Status(row.status),
        priority=Priority(row.priority),
        accession_number=row.accession_number,
        specimen_id=row.specimen_id,
        submitted_at=row.submitted_at,
        place=row.place,
        urgency=None if row.urgency is None else Urgency(row.urgency),
        error_code=row.error_code,
    )
