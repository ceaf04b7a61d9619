"""Who has read what: the newest review of each reader of a case.

A reader is known by the first key of a line of keys that took each other's place, so that nobody
is their own second reader with a fresh key.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import CTE, Row, Select, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from shared.auth.tenants import within
from shared.db.models import ApiKeyRow, JobRow, ResultRow, ReviewRow
from shared.db.session import Sessions, execute
from shared.errors import NoResultError, NotFoundError
from shared.retention.removed import unknown_job_in
from shared.reviews.labels import Decision, ReviewLabel
from shared.reviews.standing import CaseState, Reading, Standing, standing


@dataclass(frozen=True)
class SignedReading:
    """The newest review of one reader, with who they are.

    Attributes:
        id: Of the review.
        reader: The first key of the reader.
        name: Of the key that signed.
        comment: For other readers of the case; it may name a patient and goes nowhere else.
    """

    id: int
    reader: str
    name: str
    decision: Decision
    label: ReviewLabel
    asks_second: bool
    comment: str | None
    at: dt.datetime


@dataclass(frozen=True)
class ReadCase:
    """A job's result, as far as it was read; `readings` in the order in which they were signed."""

    job_id: uuid.UUID
    prediction: ReviewLabel
    readings: tuple[SignedReading, ...]

    @property
    def standing(self) -> Standing:
        """How far the reading has come."""
        return standing(
            self.prediction, [Reading(one.label, one.asks_second) for one in self.readings]
        )

    def reading_of(self, reader: str) -> SignedReading | None:
        """What a reader has signed last; None: nothing."""
        return next((one for one in self.readings if one.reader == reader), None)

    def hides_from(self, reader: str) -> bool:
        """Whether the reader must not know what the first one found, to read it unswayed."""
        awaits_second = self.standing.state is CaseState.SECOND_READING
        return awaits_second and self.reading_of(reader) is None


def _readers() -> CTE:
    line = (
        select(ApiKeyRow.id, ApiKeyRow.id.label("reader"))
        .where(ApiKeyRow.successor_of.is_(None))
        .cte("readers", recursive=True)
    )
    newer = select(ApiKeyRow.id, line.c.reader).join(line, ApiKeyRow.successor_of == line.c.id)
    return line.union_all(newer)


_READERS = _readers()
"""Of each key `id`: its `reader`, the first key of its line."""


def keys_of(reader: str) -> Select[tuple[str]]:
    """The ids of all keys of a reader."""
    return select(_READERS.c.id).where(_READERS.c.reader == reader)


def reader_of(sessions: Sessions, key_id: str) -> str:
    """The reader whose key it is.

    Raises:
        NotFoundError: There is no such key.
    """
    rows = execute(sessions, select(_READERS.c.reader).where(_READERS.c.id == key_id))
    if not rows:
        raise NotFoundError(f"There is no key {key_id}.")
    return str(rows[0].reader)


def find_case(sessions: Sessions, job_id: uuid.UUID, *, tenant: str | None) -> ReadCase:
    """What readers have signed of a job.

    Raises:
        NotFoundError: The tenant has no such job.
        NoResultError: The job has no result.
    """
    with sessions() as session:
        return read_case(session, job_id, tenant=tenant)


def read_case(session: Session, job_id: uuid.UUID, *, tenant: str | None) -> ReadCase:
    """The same as `find_case`, in an open transaction."""
    of_tenant = within(JobRow.tenant, tenant)
    status = session.scalar(select(JobRow.status).where(JobRow.id == job_id, of_tenant))
    if status is None:
        raise unknown_job_in(session, job_id, tenant=tenant)
    case = read_cases(session, [job_id]).get(job_id)
    if case is None:
        raise NoResultError(f"The job is {status}.")
    return case


def read_cases(
    session: Session, job_ids: Collection[uuid.UUID], *, until: int | None = None
) -> dict[uuid.UUID, ReadCase]:
    """What readers have signed of jobs that have results, whosever they are.

    Args:
        session: An open transaction.
        job_ids: The jobs; those without a result are passed over.
        until: The id of the last review that counts; None: all do.
    """
    predictions = session.execute(
        select(ResultRow.job_id, ResultRow.prediction).where(ResultRow.job_id.in_(job_ids))
    ).all()
    signed: dict[uuid.UUID, list[SignedReading]] = {row.job_id: [] for row in predictions}
    statement = newest_readings().where(ReviewRow.job_id.in_(job_ids))
    if until is not None:
        statement = statement.where(ReviewRow.id <= until)
    for row in session.execute(statement):
        signed[row.job_id].append(_signed(row))
    return {
        row.job_id: ReadCase(
            row.job_id,
            ReviewLabel(row.prediction),
            tuple(sorted(signed[row.job_id], key=lambda one: one.id)),
        )
        for row in predictions
    }


def newest_readings() -> Select[Any]:
    """Each reader's newest review of each job: all columns of it, `reader` and `name`."""
    return (
        select(*ReviewRow.__table__.columns, _READERS.c.reader, ApiKeyRow.name)
        .ext(distinct_on(ReviewRow.job_id, _READERS.c.reader))
        .join(_READERS, _READERS.c.id == ReviewRow.api_key_id)
        .join(ApiKeyRow, ApiKeyRow.id == ReviewRow.api_key_id)
        .order_by(ReviewRow.job_id, _READERS.c.reader, ReviewRow.id.desc())
    )


def _signed(row: Row[Any]) -> SignedReading:
    return SignedReading(
        id=row.id,
        reader=row.reader,
        name=row.name,
        decision=Decision(row.decision),
        label=ReviewLabel(row.label),
        asks_second=row.asks_second,
        comment=row.comment,
        at=row.at,
    )
