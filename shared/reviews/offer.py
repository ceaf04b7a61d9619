"""Which case a reader is to read next, and that no other reader is offered it meanwhile."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection

from sqlalchemy import ColumnElement, Update, exists, func, null, or_, select, update
from sqlalchemy.orm import Session

from shared.db.models import ResultRow, ReviewRow
from shared.db.session import Sessions, execute
from shared.reviews.readings import keys_of
from shared.reviews.standing import CaseState
from shared.triage.policy import Urgency

HOLD = dt.timedelta(minutes=10)
"""For so long a case is offered to nobody else; it binds nobody who opens or signs it."""

_OPEN = ResultRow.case_state != CaseState.CLOSED


def next_case(
    sessions: Sessions, reader: str, passed_over: Collection[uuid.UUID] = (), *, tenant: str
) -> uuid.UUID | None:
    """The job to read next, held for the reader from now on; None: no case waits for them.

    What they hold already comes first. Then come the most urgent, of those the one with the
    earliest deadline, and of those the oldest. Nobody is offered what they have signed.

    Args:
        sessions: The database.
        reader: As `reader_of` knows them.
        passed_over: Jobs that are not to be offered.
        tenant: Whose cases.
    """
    with sessions.begin() as session:
        job_id = _begun(session, reader, passed_over)
        for urgency in Urgency:
            job_id = job_id or _waiting(session, (tenant, urgency), reader, passed_over)
        if job_id is not None:
            session.execute(_held(job_id, reader))
        return job_id


def hold(sessions: Sessions, job_id: uuid.UUID, reader: str, *, tenant: str) -> bool:
    """Hold a tenant's open case for a reader; False: another one has it, or nothing is to be."""
    statement = (
        _held(job_id, reader)
        .where(ResultRow.tenant == tenant, _OPEN, _is_free(reader))
        .returning(ResultRow.job_id)
    )
    return bool(execute(sessions, statement))


def release(sessions: Sessions, job_id: uuid.UUID, reader: str) -> None:
    """Hold a case for a reader no more; where another one has it, nothing."""
    execute(
        sessions,
        update(ResultRow)
        .where(ResultRow.job_id == job_id, ResultRow.held_by == reader)
        .values(held_by=None, held_until=None),
    )


def holder(sessions: Sessions, job_id: uuid.UUID) -> str | None:
    """The reader who has an open case at hand; None: nobody has."""
    rows = execute(
        sessions,
        select(ResultRow.held_by).where(
            ResultRow.job_id == job_id, _OPEN, ResultRow.held_until > func.now()
        ),
    )
    return rows[0].held_by if rows else None


def waiting(sessions: Sessions, reader: str, *, tenant: str) -> dict[Urgency, int]:
    """How many cases of each urgency wait for a reader, those that others have at hand too."""
    statement = (
        select(ResultRow.urgency, func.count().label("cases"))
        .where(ResultRow.tenant == tenant, _OPEN, ~_signed_by(reader))
        .group_by(ResultRow.urgency)
    )
    counts = {row.urgency: row.cases for row in execute(sessions, statement)}
    return {urgency: counts.get(urgency, 0) for urgency in Urgency}


def _begun(session: Session, reader: str, passed_over: Collection[uuid.UUID]) -> uuid.UUID | None:
    return session.scalar(
        select(ResultRow.job_id)
        .where(_OPEN, ResultRow.held_by == reader, ResultRow.held_until > func.now())
        .where(ResultRow.job_id.not_in(passed_over), ~_signed_by(reader))
        .order_by(ResultRow.held_until.desc())
        .limit(1)
    )


def _waiting(
    session: Session, lane: tuple[str, Urgency], reader: str, passed_over: Collection[uuid.UUID]
) -> uuid.UUID | None:
    tenant, urgency = lane
    return session.scalar(
        select(ResultRow.job_id)
        .where(ResultRow.tenant == tenant, ResultRow.urgency == urgency, _OPEN)
        .where(_is_free(reader), ~_signed_by(reader))
        .where(ResultRow.job_id.not_in(passed_over))
        .order_by(ResultRow.due_at, ResultRow.created_at)
        .limit(1)
        # Two readers who ask at once are offered two cases.
        .with_for_update(of=ResultRow, skip_locked=True)
    )


def _is_free(reader: str) -> ColumnElement[bool]:
    free = ResultRow.held_until.is_(null())
    return or_(free, ResultRow.held_until <= func.now(), ResultRow.held_by == reader)


def _signed_by(reader: str) -> ColumnElement[bool]:
    by_them = ReviewRow.api_key_id.in_(keys_of(reader))
    return exists().where(ReviewRow.job_id == ResultRow.job_id, by_them)


def _held(job_id: uuid.UUID, reader: str) -> Update:
    until = func.now() + HOLD
    return (
        update(ResultRow).where(ResultRow.job_id == job_id).values(held_by=reader, held_until=until)
    )
