"""Reads the audit trail."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from shared.audit.calls import CALLED
from shared.db.models import AuditRow, AuditSealRow
from shared.db.session import Sessions, execute


@dataclass(frozen=True)
class AuditEvent:
    """Who did what to which job, when.

    Attributes:
        position: Its place in the chain; None: it has none yet, or was not asked for.
        hash: The hash of the chain there, 32 bytes.
    """

    id: int
    at: dt.datetime
    actor: str
    action: str
    job_id: uuid.UUID | None
    details: dict[str, Any]
    position: int | None = None
    hash: bytes | None = None


@dataclass(frozen=True)
class AuditFilter:
    """Which events to list; None means any. Times are from inclusive, to exclusive.

    `with_calls` is whether the calls of the API are among them, which are most events by far.
    """

    actor: str | None = None
    action: str | None = None
    job_id: uuid.UUID | None = None
    at_from: dt.datetime | None = None
    at_to: dt.datetime | None = None
    with_calls: bool = True


@dataclass(frozen=True)
class AuditPage:
    """A page of events, newest first; `next_cursor` is None on the last."""

    events: tuple[AuditEvent, ...]
    next_cursor: int | None


def list_events(
    sessions: Sessions, criteria: AuditFilter, *, limit: int, cursor: int | None = None
) -> AuditPage:
    """List events, newest first, a page at a time; the cursor is the id that the page is below."""
    statement = (
        select(*AuditRow.__table__.columns, AuditSealRow.position, AuditSealRow.hash)
        .outerjoin(AuditSealRow, AuditSealRow.event_id == AuditRow.id)
        .order_by(AuditRow.id.desc())
        .limit(limit + 1)
    )
    if criteria.actor is not None:
        statement = statement.where(AuditRow.actor == criteria.actor)
    if criteria.action is not None:
        statement = statement.where(AuditRow.action == criteria.action)
    if criteria.job_id is not None:
        statement = statement.where(AuditRow.job_id == criteria.job_id)
    if criteria.at_from is not None:
        statement = statement.where(AuditRow.at >= criteria.at_from)
    if criteria.at_to is not None:
        statement = statement.where(AuditRow.at < criteria.at_to)
    if not criteria.with_calls:
        statement = statement.where(AuditRow.action != CALLED)
    if cursor is not None:
        statement = statement.where(AuditRow.id < cursor)
    rows = execute(sessions, statement)
    events = tuple(AuditEvent(**row._mapping) for row in rows[:limit])
    return AuditPage(events, events[-1].id if len(rows) > limit else None)
