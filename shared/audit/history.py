"""What has become of one job, by the audit trail."""

from __future__ import annotations

import uuid

from sqlalchemy import bindparam, select

from shared.audit.queries import AuditEvent
from shared.db.models import AuditRow
from shared.db.session import Sessions, execute

_CALLED = "api.called"
_MOST = 200

_OF_JOB = (
    select(*AuditRow.__table__.columns)
    .where(AuditRow.job_id == bindparam("job_id"), AuditRow.action != _CALLED)
    .order_by(AuditRow.id)
    .limit(_MOST)
)


def history(sessions: Sessions, job_id: uuid.UUID) -> list[AuditEvent]:
    """The first 200 events of a job, the oldest first; without those that only tell of a call."""
    rows = execute(sessions, _OF_JOB, {"job_id": job_id})
    return [AuditEvent(**row._mapping) for row in rows]
