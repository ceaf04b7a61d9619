"""Events of the audit trail that legal holds cover: of held jobs and orders, and of the holds."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.orm import Session

from shared.retention.holds import JOB_IS_HELD, ORDER_IS_HELD, alone

_ANY_HOLD = text("SELECT EXISTS (SELECT FROM legal_holds WHERE released_at IS NULL)")

# What is held is looked for among what the events name, and not among all that there is.
_FIRST_HELD = text(
    "WITH due AS MATERIALIZED ("  # noqa: S608 - of constants
    "  SELECT s.position, a.job_id, a.details ->> 'order' AS order_id,"
    "    COALESCE(a.details -> 'holds', '[]') || COALESCE(a.details -> 'hold', '[]') AS hold_ids"
    "  FROM audit_seals AS s JOIN audit_events AS a ON a.id = s.event_id"
    "  WHERE s.position BETWEEN :first AND :last"
    "), held_jobs AS MATERIALIZED ("
    "  SELECT j.id FROM jobs AS j"
    f" WHERE j.id IN (SELECT job_id FROM due WHERE job_id IS NOT NULL) AND {JOB_IS_HELD}"
    "), held_orders AS MATERIALIZED ("
    "  SELECT CAST(o.id AS text) AS id FROM orders AS o WHERE o.id IN ("
    "    SELECT CAST(order_id AS uuid) FROM due WHERE order_id ~ '^[0-9a-f-]{36}$'"
    f" ) AND {ORDER_IS_HELD}"
    "), holds AS MATERIALIZED ("
    "  SELECT array_agg(CAST(h.id AS text)) AS ids FROM legal_holds AS h"
    "  WHERE h.released_at IS NULL"
    ")"
    " SELECT min(position) FROM due WHERE job_id IN (SELECT id FROM held_jobs)"
    "   OR order_id IN (SELECT id FROM held_orders) OR hold_ids ?| (SELECT ids FROM holds)"
)


def first_held_event(session: Session, first: int, last: int) -> int | None:
    """The first position between two of an event that a hold covers; None: there is none.

    No hold is placed before the transaction ends.
    """
    alone(session)
    if not session.scalar(_ANY_HOLD):
        return None
    found: int | None = session.scalar(_FIRST_HELD, {"first": first, "last": last})
    return found
