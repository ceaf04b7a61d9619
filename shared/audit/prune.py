"""Removes the oldest part of the audit trail, so that what is left can still be verified."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import delete, func, select, text
from sqlalchemy.orm import Session

from shared import audit
from shared.audit.chain import SEALING_LOCK
from shared.db.models import AuditCheckpointRow, AuditRow, AuditSealRow
from shared.db.session import Sessions

PRUNED = "audit.pruned"
"""The action of the event that tells of it: `position` is the end of what is removed."""

_ACTOR = "service:retention"

# A transaction removes about so many events: the sealer waits for its lock meanwhile.
_STEP = 20_000

_ALLOW = text("SET LOCAL hemotriage.audit_prune = 'on'")


def prune(sessions: Sessions, before: dt.datetime) -> int:
    """Remove the events that were sealed before a moment, as far as a checkpoint reaches.

    The newest checkpoint from before the moment stays as the beginning of the chain, and an event
    tells of it. It is done in steps from checkpoint to checkpoint; after each, the chain is whole,
    and what is left when this is cut off is removed by the next call.

    Args:
        sessions: The database; its role must be allowed to delete.
        before: With a time zone.

    Returns:
        How many events were removed.
    """
    with sessions.begin() as session:
        target = session.scalar(
            select(func.max(AuditCheckpointRow.position)).where(AuditCheckpointRow.at < before)
        )
        first = _beginning(session)
        if target is None or first is None or first > target:
            return 0
        audit.record(session, _ACTOR, PRUNED, position=target, before=before.isoformat())
    removed = 0
    while first is not None and first <= target:
        with sessions.begin() as session:
            session.execute(select(func.pg_advisory_xact_lock(SEALING_LOCK)))
            first = _beginning(session)
            if first is not None and first <= target:
                removed += _remove(session, _step_end(session, first, target))
    return removed


def _beginning(session: Session) -> int | None:
    return session.scalar(select(func.min(AuditSealRow.position)))


def _step_end(session: Session, first: int, target: int) -> int:
    """The last checkpoint within a step, or the first one beyond it."""
    position = AuditCheckpointRow.position
    within = position.between(first, min(first + _STEP, target))
    end = session.scalar(select(func.max(position)).where(within))
    if end is None:
        end = session.scalar(select(func.min(position)).where(position.between(first, target)))
    return target if end is None else end


def _remove(session: Session, end: int) -> int:
    """Remove all up to a checkpoint, which stays; returns the number of events."""
    session.execute(_ALLOW)
    sealed = select(AuditSealRow.event_id).where(AuditSealRow.position <= end)
    events = delete(AuditRow).where(AuditRow.id.in_(sealed)).returning(AuditRow.id)
    count = len(session.execute(events).all())
    session.execute(delete(AuditSealRow).where(AuditSealRow.position <= end))
    session.execute(delete(AuditCheckpointRow).where(AuditCheckpointRow.position < end))
    return count
