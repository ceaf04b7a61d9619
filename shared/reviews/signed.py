"""What one reader has signed, and how often the model and other readers said the same."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, Select, func, select

from shared.db.models import JobRow, ResultRow, ReviewRow
from shared.db.session import Sessions, execute
from shared.reviews.agreement import SPAN, wilson
from shared.reviews.labels import Decision
from shared.reviews.readings import (
    ReadCase,
    SignedReading,
    keys_of,
    newest_readings,
    read_cases,
)
from shared.triage.policy import Urgency


@dataclass(frozen=True)
class SignedCase:
    """A case that a reader has signed."""

    case: ReadCase
    reader: str
    accession_number: str | None
    model: str
    urgency: Urgency

    @property
    def own(self) -> SignedReading:
        """Their newest review of it."""
        return next(one for one in self.case.readings if one.reader == self.reader)

    @property
    def others(self) -> tuple[SignedReading, ...]:
        """What other readers have signed."""
        return tuple(one for one in self.case.readings if one.reader != self.reader)


@dataclass(frozen=True)
class SignedPage:
    """A page of cases, last signed first; `next_before` is None on the last."""

    cases: tuple[SignedCase, ...]
    next_before: int | None


@dataclass(frozen=True)
class Share:
    """How many of how many."""

    count: int
    total: int

    @property
    def value(self) -> float | None:
        """From 0 to 1; None of nothing."""
        return self.count / self.total if self.total else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Wilson's 95 % interval; None of nothing."""
        return wilson(self.count, self.total) if self.total else None


@dataclass(frozen=True)
class OwnAgreement:
    """Of the cases that a reader has signed within `SPAN`: how many, and who said the same.

    Attributes:
        with_model: Cases whose prediction they confirmed.
        with_readers: Of each pair with another reader of a case, the same label.
    """

    with_model: Share
    with_readers: Share


def signed_cases(
    sessions: Sessions, reader: str, *, limit: int, before: int | None = None
) -> SignedPage:
    """List what a reader has signed, last signed first, each case once.

    Args:
        sessions: The database.
        reader: As `reader_of` knows them.
        limit: The most on a page.
        before: `next_before` of the page before.
    """
    with sessions() as session:
        rows = session.execute(_own(reader, before).limit(limit + 1)).all()
        cases = read_cases(session, [row.job_id for row in rows[:limit]])
    signed = tuple(_signed_case(row, cases[row.job_id], reader) for row in rows[:limit])
    return SignedPage(signed, rows[limit - 1].review if len(rows) > limit else None)


def own_agreement(sessions: Sessions, reader: str, span: dt.timedelta = SPAN) -> OwnAgreement:
    """How often a reader has said the same as the model, and as other readers."""
    own = newest_readings().where(ReviewRow.job_id.in_(_jobs(reader))).subquery()
    other = newest_readings().where(ReviewRow.job_id.in_(_jobs(reader))).subquery()
    lately = (own.c.reader == reader, own.c.at > func.now() - span)
    confirmed = func.count().filter(own.c.decision == Decision.CONFIRM)
    total = func.count().label("total")
    alone = execute(sessions, select(total, confirmed.label("same")).where(*lately))
    same = func.count().filter(own.c.label == other.c.label)
    paired = execute(
        sessions,
        select(total, same.label("same"))
        .select_from(own)
        .join(other, (other.c.job_id == own.c.job_id) & (other.c.reader != reader))
        .where(*lately),
    )
    return OwnAgreement(*(Share(row.same, row.total) for row in (*alone, *paired)))


def _jobs(reader: str) -> Select[Any]:
    return select(ReviewRow.job_id).where(ReviewRow.api_key_id.in_(keys_of(reader)))


def _own(reader: str, before: int | None) -> Select[Any]:
    newest = (
        select(func.max(ReviewRow.id).label("review"), ReviewRow.job_id)
        .where(ReviewRow.api_key_id.in_(keys_of(reader)))
        .group_by(ReviewRow.job_id)
        .subquery()
    )
    statement = (
        select(
            newest,
            JobRow.accession_number,
            func.concat(JobRow.model_name, "@", JobRow.model_version).label("model"),
            ResultRow.urgency,
        )
        .join(JobRow, JobRow.id == newest.c.job_id)
        .join(ResultRow, ResultRow.job_id == newest.c.job_id)
        .order_by(newest.c.review.desc())
    )
    return statement if before is None else statement.where(newest.c.review < before)


def _signed_case(row: Row[Any], case: ReadCase, reader: str) -> SignedCase:
    return SignedCase(case, reader, row.accession_number, row.model, Urgency(row.urgency))
