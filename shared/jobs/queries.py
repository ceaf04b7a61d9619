"""Reads jobs."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import JSON, Select, bindparam, literal_column, select

from shared.auth.tenants import within, within_asked
from shared.db.cursors import newest_first
from shared.db.models import JobRow, ResultRow
from shared.db.session import Sessions, execute
from shared.jobs.entities import Job, job_from_row
from shared.jobs.states import Priority, Status
from shared.retention.removed import unknown_job

IMAGES = literal_column(
    """COALESCE(
        (SELECT json_agg(i ORDER BY i.index) FROM job_images AS i WHERE i.job_id = jobs.id), '[]'
    )""",
    JSON(),
).label("images")
"""Of a row of `jobs`: its images, as a list of objects in order."""


def whole_jobs() -> Select[Any]:
    """Jobs with their images, as a list of objects, and the document of their result."""
    return select(*JobRow.__table__.columns, IMAGES, ResultRow.document.label("result")).outerjoin(
        ResultRow, ResultRow.job_id == JobRow.id
    )


# Made once: building a statement costs as much as running it.
_IS_ASKED = (JobRow.id == bindparam("job_id"), within_asked(JobRow.tenant))
_WHOLE_JOB = whole_jobs().where(*_IS_ASKED)
_STATUS = select(JobRow.status).where(*_IS_ASKED)


@dataclass(frozen=True)
class JobFilter:
    """Which jobs to list; None means any. Times are of submission, from inclusive, to exclusive."""

    status: Status | None = None
    priority: Priority | None = None
    accession_number: str | None = None
    urgency: str | None = None
    submitted_from: dt.datetime | None = None
    submitted_to: dt.datetime | None = None


@dataclass(frozen=True)
class JobPage:
    """A page of jobs, newest first; `next_cursor` is None on the last."""

    jobs: tuple[Job, ...]
    next_cursor: str | None


def get_job(sessions: Sessions, job_id: uuid.UUID, *, tenant: str | None) -> Job:
    """Read one job with its images and its result.

    Raises:
        NotFoundError: The tenant has no such job.
        JobErasedError: It was erased.
        JobPurgedError: It was purged.
    """
    rows = execute(sessions, _WHOLE_JOB, {"job_id": job_id, "tenant": tenant})
    if not rows:
        raise unknown_job(sessions, job_id, tenant=tenant)
    return job_from_row(rows[0])


def get_status(sessions: Sessions, job_id: uuid.UUID, *, tenant: str | None) -> Status:
    """Read the status alone; the cheap read that waiting repeats.

    Raises:
        NotFoundError: The tenant has no such job.
        JobErasedError: It was erased.
        JobPurgedError: It was purged.
    """
    rows = execute(sessions, _STATUS, {"job_id": job_id, "tenant": tenant})
    if not rows:
        raise unknown_job(sessions, job_id, tenant=tenant)
    return Status(rows[0].status)


def list_jobs(
    sessions: Sessions,
    criteria: JobFilter,
    *,
    tenant: str | None,
    limit: int,
    cursor: str | None = None,
) -> JobPage:
    """List jobs, newest first, a page at a time.

    Args:
        sessions: Of the database.
        criteria: Which jobs.
        tenant: Whose.
        limit: The most on a page.
        cursor: `next_cursor` of the page before, or another text of the pattern `CURSOR`.
    """
    position = (JobRow.__table__.c.submitted_at, JobRow.__table__.c.id)
    statement = _filtered(criteria).where(within(JobRow.tenant, tenant))
    rows, following = newest_first(sessions, statement, position, limit=limit, cursor=cursor)
    return JobPage(tuple(job_from_row(row) for row in rows), following)


def _filtered(criteria: JobFilter) -> Select[Any]:
    statement = whole_jobs()
    if criteria.status is not None:
        statement = statement.where(JobRow.status == criteria.status)
    if criteria.priority is not None:
        statement = statement.where(JobRow.priority == criteria.priority)
    if criteria.accession_number is not None:
        statement = statement.where(JobRow.accession_number == criteria.accession_number)
    if criteria.urgency is not None:
        statement = statement.where(ResultRow.urgency == criteria.urgency)
    if criteria.submitted_from is not None:
        statement = statement.where(JobRow.submitted_at >= criteria.submitted_from)
    if criteria.submitted_to is not None:
        statement = statement.where(JobRow.submitted_at < criteria.submitted_to)
    return statement
