"""The vocabulary of reviews, as it stands in the OpenAPI document."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from shared.reviews.readings import ReadCase
from shared.reviews.record import Decision, Review, ReviewLabel
from shared.reviews.standing import CaseState

Comment = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, max_length=2000, pattern=r"^[^\x00-\x08\x0b\x0c\x0e-\x1f]*$"
    ),
]


class ReviewIn(BaseModel):
    """What a reviewer says of a result."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    decision: Decision
    label: ReviewLabel | None = Field(
        None, description="What it is; needed to override. `other`: none of the four classes."
    )
    comment: Comment | None = Field(
        None, description="Kept with the review; the console shows it to readers of the case."
    )
    asks_second: bool = Field(
        False, description="Whether a second reader is to sign before the case is closed."
    )


class ReviewOut(BaseModel):
    """A review as it was recorded, without its comment."""

    id: int
    job_id: str
    decision: Decision
    prediction: ReviewLabel
    label: ReviewLabel
    asks_second: bool
    at: dt.datetime
    case_state: CaseState = Field(description="How far the reading has come with it.")


class ReadingOut(BaseModel):
    """The newest review of one reader, without its comment."""

    id: int
    reader: str = Field(description="Id of the reader's key; of successors, that of the first.")
    decision: Decision
    label: ReviewLabel
    asks_second: bool
    at: dt.datetime


class ReviewListOut(BaseModel):
    """What readers have signed of a job, and how far its reading has come."""

    job_id: str
    prediction: ReviewLabel
    case_state: CaseState
    label: ReviewLabel | None = Field(description="What the case was closed with; null until then.")
    reviews: list[ReadingOut] = Field(description="One of each reader, in the order of signing.")


def review_out(review: Review) -> ReviewOut:
    """A review as clients see it."""
    own = ReviewOut.model_fields.keys() - {"job_id", "case_state"}
    return ReviewOut(
        job_id=str(review.job_id),
        case_state=review.standing.state,
        **{name: getattr(review, name) for name in own},
    )


def review_list_out(case: ReadCase) -> ReviewListOut:
    """The readings of a case as clients see them."""
    return ReviewListOut(
        job_id=str(case.job_id),
        prediction=case.prediction,
        case_state=case.standing.state,
        label=case.standing.label,
        reviews=[
            ReadingOut(**{name: getattr(one, name) for name in ReadingOut.model_fields})
            for one in case.readings
        ],
    )
