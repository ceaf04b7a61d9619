"""Removes the oldest part of the audit trail, so that what is left can still be verified."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass

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


FirstHeld = Callable[[Session, int], int | None]
"""Gives the first position, up to another one, of an event that must stay; None: there is none."""


@dataclass(frozen=True)
class Pruned:
    """How many events were removed, and how many stay because one of them must."""

    removed: int
    held: int


def prune(sessions: Sessions, before: dt.datetime, *, first_held: FirstHeld) -> Pruned:
    """Remove the events that were sealed before a moment, as far as a checkpoint reaches.

    The newest checkpoint from before the moment stays as the beginning of the chain, and an event
    tells of it. It is done in steps from checkpoint to checkpoint; after each, the chain is whole,
    and what is left when this is cut off is removed by the next call. A chain has no gaps: from the
    first event that must stay, all stay.

    Args:
        sessions: The database; its role must be allowed to delete.
        before: With a time zone.
        first_held: Asked in each step's transaction, before anything is removed in it.
    """
    with sessions.begin() as session:
        position = AuditCheckpointRow.position
        due = session.scalar(select(func.max(position)).where(AuditCheckpointRow.at < before))
        first = _beginning(session)
        if due is None or first is None or first > due:
            return Pruned(0, 0)
        target = _free_until(session, due, first_held)
        held = _count(session, target, due)
        if first <= target:
            audit.record(session, _ACTOR, PRUNED, position=target, before=before.isoformat())
    removed = 0
    while first is not None and first <= target:
        with sessions.begin() as session:
            target = min(target, _free_until(session, target, first_held))
            session.execute(select(func.pg_advisory_xact_lock(SEALING_LOCK)))
            first = _beginning(session)
            if first is not None and first <= target:
                removed += _remove(session, _step_end(session, first, target))
    return Pruned(removed, held)


def _free_until(session: Session, due: int, first_held: FirstHeld) -> int:
    """The last checkpoint up to `due` before any event that must stay; 0 where there is none."""
    kept = first_held(session, due)
    if kept is None:
        return due
    position = AuditCheckpointRow.position
    return session.scalar(select(func.max(position)).where(position < kept)) or 0


def _count(session: Session, after: int, until: int) -> int:
    position = AuditSealRow.position
    wanted = select(func.count()).where(position > after, position <= until)
    return session.scalar(wanted) or 0


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
