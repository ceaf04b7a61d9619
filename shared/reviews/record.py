"""Records what a reviewer says of a job's result."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from shared import audit
from shared.db.models import JobRow, ResultRow, ReviewRow
from shared.db.session import Sessions
from shared.errors import PermanentError
from shared.reviews.labels import Decision, ReviewLabel
from shared.reviews.readings import read_case, read_cases
from shared.reviews.standing import Standing

__all__ = ["Decision", "Review", "ReviewContradictsError", "ReviewLabel", "record_review"]


class ReviewContradictsError(PermanentError):
    """The label contradicts the decision."""

    code = "review_contradicts"


@dataclass(frozen=True)
class Review:
    """A review as it was recorded, and how its case stands; its comment stays in the database."""

    id: int
    job_id: uuid.UUID
    decision: Decision
    prediction: ReviewLabel
    label: ReviewLabel
    asks_second: bool
    at: dt.datetime
    standing: Standing


def record_review(
    sessions: Sessions,
    job_id: uuid.UUID,
    decision: Decision,
    label: ReviewLabel | None,
    *,
    comment: str | None,
    tenant: str | None,
    key_id: str,
    asks_second: bool = False,
    after: int | None = None,
) -> Review:
    """Add a review; of several of one reader, the newest counts.

    Args:
        sessions: The database.
        job_id: The job.
        decision: About the prediction of its result.
        label: What the reviewer found; may be left out of a confirmation.
        comment: May name a patient: it goes nowhere but into its column.
        tenant: Whose job it is.
        key_id: The API key of the reviewer.
        asks_second: Whether the reviewer wants a second reader to sign too.
        after: The id of the reader's newest review when they were asked, 0: they had none. Where a
            later one of the key says the same, the form came twice, and that one is the answer.
            None: each call is a review.

    Raises:
        NotFoundError: The tenant has no such job.
        NoResultError: The job has no result.
        ReviewContradictsError: It confirms with another label than the prediction, or overrides
            with the same or with none.
    """
    with sessions.begin() as session:
        # Whoever signs the same case meanwhile waits, and judges it by this review too.
        session.execute(
            select(ResultRow.job_id).where(ResultRow.job_id == job_id).with_for_update()
        )
        case = read_case(session, job_id, tenant=tenant)
        prediction = case.prediction
        found = _found(decision, label, prediction)
        row = ReviewRow(
            job_id=job_id,
            decision=decision,
            label=found,
            comment=comment,
            api_key_id=key_id,
            asks_second=asks_second,
        )
        if after is not None and (same := _same_as(session, row, after)) is not None:
            return Review(
                same.id, job_id, decision, prediction, found, asks_second, same.at, case.standing
            )
        session.add(row)
        session.flush()
        now = _settle(session, job_id)
        audit.record(
            session,
            f"key:{key_id}",
            "job.reviewed",
            job_id,
            review=row.id,
            model=_model(session, job_id),
            decision=decision,
            prediction=prediction,
            label=found,
            asks_second=asks_second,
            case=now.state,
        )
        return Review(row.id, job_id, decision, prediction, found, asks_second, row.at, now)


def _same_as(session: Session, review: ReviewRow, after: int) -> ReviewRow | None:
    """The newest review of the same job by the same key, if it is later and says the same."""
    newest = session.scalar(
        select(ReviewRow)
        .where(ReviewRow.job_id == review.job_id, ReviewRow.api_key_id == review.api_key_id)
        .where(ReviewRow.id > after)
        .order_by(ReviewRow.id.desc())
        .limit(1)
    )
    said = ("label", "comment", "asks_second")
    if newest is None or any(getattr(newest, one) != getattr(review, one) for one in said):
        return None
    return newest


def _settle(session: Session, job_id: uuid.UUID) -> Standing:
    """Write down how the case stands now; whoever had it at hand has it no more."""
    now = read_cases(session, [job_id])[job_id].standing
    session.execute(
        update(ResultRow)
        .where(ResultRow.job_id == job_id)
        .values(case_state=now.state, case_label=now.label, held_by=None, held_until=None)
    )
    return now


def _model(session: Session, job_id: uuid.UUID) -> str:
    """The version that the result is of, as clients name it."""
    name, version = session.execute(
        select(JobRow.model_name, JobRow.model_version).where(JobRow.id == job_id)
    ).one()
    return f"{name}@{version}"


def _found(decision: Decision, label: ReviewLabel | None, prediction: ReviewLabel) -> ReviewLabel:
    if decision is Decision.CONFIRM:
        if label not in (None, prediction):
            raise ReviewContradictsError(f"The prediction is {prediction}; override it.")
        return prediction
    if label is None or label is prediction:
        raise ReviewContradictsError(f"The prediction is {prediction}; say what it is instead.")
    return label
