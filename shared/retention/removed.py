"""What was removed on purpose, and what whoever asks for it is told: 410 and not 404.

To another tenant it is what never was.
"""

from __future__ import annotations

import uuid
from http import HTTPStatus

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from shared.auth.tenants import within_asked
from shared.db.models import RemovedJobRow
from shared.db.session import Sessions
from shared.errors import NotFoundError, PermanentError
from shared.storage import ObjectMissingError

_BY_ID = select(RemovedJobRow.why, RemovedJobRow.at).where(
    RemovedJobRow.job_id == bindparam("job_id"), within_asked(RemovedJobRow.tenant)
)


class JobErasedError(PermanentError):
    """The job was erased with all that belonged to it, as was asked for its patient."""

    code = "erased"
    http_status = HTTPStatus.GONE


class JobPurgedError(PermanentError):
    """The job was removed with all that belonged to it: the time that it is kept for was over."""

    code = "purged"
    http_status = HTTPStatus.GONE


class ImagePurgedError(ObjectMissingError):
    """The image was removed: the time that images are kept for was over. The result stays."""

    code = "purged"
    http_status = HTTPStatus.GONE


def unknown_job(sessions: Sessions, job_id: uuid.UUID, *, tenant: str | None) -> PermanentError:
    """The error for a job that a tenant does not have: it was erased, was purged, or never was."""
    with sessions() as session:
        return unknown_job_in(session, job_id, tenant=tenant)


def unknown_job_in(session: Session, job_id: uuid.UUID, *, tenant: str | None) -> PermanentError:
    """The same as `unknown_job`, in an open transaction."""
    for row in session.execute(_BY_ID, {"job_id": job_id, "tenant": tenant}):
        error = JobErasedError if row.why == "erased" else JobPurgedError
        return error(f"Job {job_id}, on {row.at:%Y-%m-%d}.")
    return NotFoundError(f"There is no job {job_id}.")
