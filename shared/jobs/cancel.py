"""A client takes a job back."""

from __future__ import annotations

import uuid

from sqlalchemy import func

from shared.db.session import Sessions
from shared.errors import ConflictError
from shared.jobs.ending import tell_end
from shared.jobs.queries import get_status
from shared.jobs.states import Status, transition


def cancel(sessions: Sessions, job_id: uuid.UUID, *, actor: str) -> None:
    """Cancel a job that is still queued.

    Raises:
        NotFoundError: There is no such job.
        ConflictError: The job is running or has ended.
    """
    with sessions.begin() as session:
        row = transition(session, job_id, Status.CANCELLED, finished_at=func.clock_timestamp())
        if row is not None:
            tell_end(session, row, actor)
            return
    status = get_status(sessions, job_id)
    raise ConflictError(f"Only a queued job can be cancelled; job {job_id} is {status}.")
