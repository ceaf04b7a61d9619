"""The audit trail: who did what, to which job, when."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy.orm import Session

from shared.db.models import AuditRow


def record(
    session: Session, actor: str, action: str, job_id: uuid.UUID | None = None, **details: Any
) -> None:
    """Add one event, in the transaction of what it tells of.

    Args:
        session: The open transaction.
        actor: `key:ID`, `worker:NAME` or the name of a service.
        action: Past tense, such as `job.submitted`.
        job_id: The job concerned.
        details: Plain data; never a patient's.
    """
    session.add(AuditRow(actor=actor, action=action, job_id=job_id, details=details))
