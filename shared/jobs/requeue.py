"""An operator gives a dead letter another chance."""

from __future__ import annotations

import uuid

from sqlalchemy import exists, select

from shared import audit
from shared.auth.tenants import within
from shared.db.models import JobImageRow, JobRow
from shared.db.session import Sessions
from shared.errors import ConflictError
from shared.jobs.outbox import announce
from shared.jobs.queries import get_job, get_status
from shared.jobs.states import Status, expiry, locked_in_order, transition
from shared.retention.removed import ImagePurgedError

_OPERATOR = "operator"


def requeue(
    sessions: Sessions,
    job_id: uuid.UUID,
    *,
    tenant: str | None,
    expire_after_seconds: float,
    actor: str = _OPERATOR,
) -> None:
    """Queue a dead or failed job again, with all of its attempts before it.

    A job that crashed its worker still runs alone.

    Raises:
        NotFoundError: The tenant has no such job.
        ConflictError: The job is neither dead nor failed.
        ImagePurgedError: Its images are not kept any more.
    """
    purged = exists().where(JobImageRow.job_id == JobRow.id, JobImageRow.purged_at.is_not(None))
    with sessions.begin() as session:
        # Before the statement that looks for images: a purge that has the job is waited for.
        session.execute(locked_in_order(), {"job_ids": [job_id]})
        row = transition(
            session,
            job_id,
            Status.QUEUED,
            JobRow.status != Status.RUNNING,
            ~purged,
            within(JobRow.tenant, tenant),
            failures=0,
            expires_at=expiry(expire_after_seconds),
        )
        if row is not None:
            announce(session, row)
            audit.record(session, actor, "job.requeued", job_id, code="by_operator")
            return
    if get_job(sessions, job_id, tenant=tenant).images_purged_at is not None:
        raise ImagePurgedError(f"Job {job_id} cannot be requeued.")
    status = get_status(sessions, job_id, tenant=tenant)
    raise ConflictError(f"Only a dead or failed job can be requeued; job {job_id} is {status}.")


def dead_letters(
    sessions: Sessions, *, code: str | None = None, limit: int = 1000
) -> list[uuid.UUID]:
    """The ids of dead jobs, oldest first, of one error code or of all."""
    statement = select(JobRow.id).where(JobRow.status == Status.DEAD)
    if code is not None:
        statement = statement.where(JobRow.error_code == code)
    with sessions() as session:
        return list(session.scalars(statement.order_by(JobRow.finished_at).limit(limit)))
