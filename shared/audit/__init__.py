"""The audit trail: who did what, to which job, when."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import CTE, func, insert, literal, select
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
    event = {"actor": actor, "action": action, "job_id": job_id, "details": details}
    # Inline: nothing is returned, which who only adds to the trail may not see.
    session.execute(insert(AuditRow).values(**event).inline())


def recorded(events: CTE, prefix: str) -> CTE:
    """The part of a statement that adds an event for each row of another part.

    Args:
        events: Has `actor`, `status`, `job_id` and `details`.
        prefix: Comes before the status to make the action.
    """
    rows = select(
        events.c.actor,
        func.concat(literal(prefix), events.c.status),
        events.c.job_id,
        events.c.details,
    )
    columns = ["actor", "action", "job_id", "details"]
    return insert(AuditRow).from_select(columns, rows).cte("recorded")
