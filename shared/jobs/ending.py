"""What every end of a job brings with it, in the transaction of that end."""

from __future__ import annotations

from sqlalchemy.orm import Session

from shared import audit
from shared.db.models import JobRow
from shared.webhooks.events import record_end


def tell_end(session: Session, job: JobRow, actor: str, **details: object) -> None:
    """Record a job's end in the audit trail, and the event that its client asked to be told of.

    Args:
        session: The open transaction.
        job: The job in its final state.
        actor: Who ended it, as in `audit.record`.
        details: Plain data for the audit trail.
    """
    audit.record(session, actor, f"job.{job.status}", job.id, **details)
    record_end(session, job)
