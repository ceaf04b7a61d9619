"""A client takes a job back."""

from __future__ import annotations

import uuid

from sqlalchemy import func

from shared.auth.tenants import within
from shared.db.models import JobRow
from shared.db.session import Sessions
from shared.errors import ConflictError
from shared.jobs.ending import tell_end
from shared.jobs.queries import get_status
from shared.jobs.states import Status, transition


def cancel(sessions: Sessions, job_id: uuid.UUID, *, tenant: str | None, actor: str) -> None:
    """Cancel a job that is still queued.

    Raises:
        NotFoundError: The tenant has no such job.
        ConflictError: The job is running or has ended.
    """
    with sessions.begin() as session:
        row = transition(
            session,
            job_id,
            Status.CANCELLED,
            within(JobRow.tenant, tenant),
            finished_at=func.clock_timestamp(),
        )
        if row is not None:
            tell_end(session, row, actor)
            return
    status = get_status(sessions, job_id, tenant=tenant)
    raise ConflictError(f"Only a queued job can be cancelled; job {job_id} is {status}.")
