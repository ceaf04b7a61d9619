"""Records what a reviewer says of a job's result."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from shared import audit
from shared.db.models import JobRow, ResultRow, ReviewRow
from shared.db.session import Sessions
from shared.errors import NoResultError, NotFoundError, PermanentError


class Decision(StrEnum):
    """What the reviewer makes of the prediction."""

    CONFIRM = "confirm"  # it is right
    OVERRIDE = "override"  # it is wrong; the label says what is right


class ReviewLabel(StrEnum):
    """What a reviewer may find: the model's classes, and what is none of them."""

    BENIGN = "Benign"
    EARLY = "Early"
    PRE = "Pre"
    PRO = "Pro"
    OTHER = "other"  # another disease, or a field that shows no answer; the comment tells which


class ReviewContradictsError(PermanentError):
    """The label contradicts the decision."""

    code = "review_contradicts"


@dataclass(frozen=True)
class Review:
    """A review as it was recorded; its comment stays in the database."""

    id: int
    job_id: uuid.UUID
    decision: Decision
    prediction: ReviewLabel
    label: ReviewLabel
    at: dt.datetime


def record_review(
    sessions: Sessions,
    job_id: uuid.UUID,
    decision: Decision,
    label: ReviewLabel | None,
    *,
    comment: str | None,
    key_id: str,
) -> Review:
    """Add a review; of several of one job, the newest counts.

    Args:
        sessions: The database.
        job_id: The job.
        decision: About the prediction of its result.
        label: What the reviewer found; may be left out of a confirmation.
        comment: May name a patient: it goes nowhere but into its column.
        key_id: The API key of the reviewer.

    Raises:
        NotFoundError: There is no such job.
        NoResultError: The job has no result.
        ReviewContradictsError: It confirms with another label than the prediction, or overrides
            with the same or with none.
    """
    with sessions.begin() as session:
        prediction = _prediction(session, job_id)
        found = _found(decision, label, prediction)
        row = ReviewRow(
            job_id=job_id, decision=decision, label=found, comment=comment, api_key_id=key_id
        )
        session.add(row)
        session.flush()
        details = {"decision": decision, "prediction": prediction, "label": found}
        audit.record(session, f"key:{key_id}", "job.reviewed", job_id, **details)
        return Review(row.id, job_id, decision, prediction, found, row.at)


def _prediction(session: Session, job_id: uuid.UUID) -> ReviewLabel:
    row = session.execute(
        select(JobRow.status, ResultRow.prediction)
        .outerjoin(ResultRow, ResultRow.job_id == JobRow.id)
        .where(JobRow.id == job_id)
    ).one_or_none()
    if row is None:
        raise NotFoundError(f"There is no job {job_id}.")
    if row.prediction is None:
        raise NoResultError(f"The job is {row.status}.")
    return ReviewLabel(row.prediction)


def _found(decision: Decision, label: ReviewLabel | None, prediction: ReviewLabel) -> ReviewLabel:
    if decision is Decision.CONFIRM:
        if label not in (None, prediction):
            raise ReviewContradictsError(f"The prediction is {prediction}; override it.")
        return prediction
    if label is None or label is prediction:
        raise ReviewContradictsError(f"The prediction is {prediction}; say what it is instead.")
    return label
