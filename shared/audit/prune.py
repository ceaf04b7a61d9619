"""Removes the oldest part of the audit trail, so that what is left can still be verified."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, func, select, text
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


FirstHeld = Callable[[Session, int, int], int | None]
"""Gives the first position between two, themselves included, of an event that must stay, if any."""


@dataclass(frozen=True)
class Pruned:
    """How many events were removed, and how many stay because one of them must."""

    removed: int
    held: int


def prune(sessions: Sessions, before: dt.datetime, *, first_held: FirstHeld) -> Pruned:
    """Remove the events that were sealed before a moment, as far as a checkpoint reaches.

    The newest checkpoint from before the moment stays as the beginning of the chain. It is done in
    steps from checkpoint to checkpoint, each with an event that tells of it; after each, the chain
    is whole, and what is left when this is cut off is removed by the next call. A chain has no
    gaps: from the first event that must stay, all stay.

    Args:
        sessions: The database; its role must be allowed to delete.
        before: With a time zone.
        first_held: Asked in each step's transaction, before anything is removed in it.
    """
    removed = 0
    while True:
        with sessions.begin() as session:
            due = _due(session, before)
            first = _beginning(session)
            if due is None or first is None or first > due:
                return Pruned(removed, 0)
            end = _step_end(session, first, due)
            held = first_held(session, first, end)
            if held is not None:
                end = _last_checkpoint(session, AuditCheckpointRow.position < held) or 0
            session.execute(select(func.pg_advisory_xact_lock(SEALING_LOCK)))
            if _beginning(session) != first:
                continue  # another process removes too
            if end < first:
                return Pruned(removed, due - first + 1)
            audit.record(session, _ACTOR, PRUNED, position=end, before=before.isoformat())
            removed += _remove(session, end)


def _due(session: Session, before: dt.datetime) -> int | None:
    return _last_checkpoint(session, AuditCheckpointRow.at < before)


def _last_checkpoint(session: Session, condition: ColumnElement[bool]) -> int | None:
    return session.scalar(select(func.max(AuditCheckpointRow.position)).where(condition))


def _beginning(session: Session) -> int | None:
    return session.scalar(select(func.min(AuditSealRow.position)))


def _step_end(session: Session, first: int, due: int) -> int:
    """The last checkpoint within a step, or the first one beyond it."""
    position = AuditCheckpointRow.position
    within = position.between(first, min(first + _STEP, due))
    end = _last_checkpoint(session, within)
    if end is None:
        end = session.scalar(select(func.min(position)).where(position.between(first, due)))
    return due if end is None else end


def _remove(session: Session, end: int) -> int:
    """Remove all up to a checkpoint, which stays; returns the number of events."""
    session.execute(_ALLOW)
    sealed = select(AuditSealRow.event_id).where(AuditSealRow.position <= end)
    events = delete(AuditRow).where(AuditRow.id.in_(sealed)).returning(AuditRow.id)
    count = len(session.execute(events).all())
    session.execute(delete(AuditSealRow).where(AuditSealRow.position <= end))
    session.execute(delete(AuditCheckpointRow).where(AuditCheckpointRow.position < end))
    return count
