"""What readers found lately, as labels to train on: of closed cases alone."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, func, select, text
from sqlalchemy.orm import Session, aliased

from shared.db.models import JobImageRow, ResultRow, ReviewRow
from shared.db.session import Sessions
from shared.reviews.labels import ReviewLabel
from shared.reviews.readings import read_cases


@dataclass(frozen=True)
class ReviewedJob:
    """The label that a job's case was closed with, its number of images, and the first of them."""

    job_id: uuid.UUID
    label: ReviewLabel
    images: int
    object_key: str
    sha256: str
    media_type: str


def last_review(session: Session) -> int:
    """The id of the last review, 0 without any: no review with a smaller one is still to come.

    Ids are given before their transactions end. So it waits for the reviews under way, and holds
    others up until the session's transaction ends.
    """
    session.execute(text("LOCK TABLE reviews IN SHARE MODE"))
    return session.scalar(select(func.coalesce(func.max(ReviewRow.id), 0))) or 0


def newest_reviews(sessions: Sessions, *, tenant: str, after: int, until: int) -> list[ReviewedJob]:
    """The cases that were closed, and read between two reviews, in the order of their jobs.

    Reviews beyond `until` change nothing of it, whenever it is asked for.

    Args:
        sessions: The database.
        tenant: Whose cases.
        after: Id of a review; a case counts if it has a later one.
        until: Id of the last review that counts.
    """
    with sessions() as session:
        lately = (
            select(ReviewRow.job_id)
            .join(ResultRow, ResultRow.job_id == ReviewRow.job_id)
            .where(ResultRow.tenant == tenant, ReviewRow.id > after, ReviewRow.id <= until)
        )
        cases = read_cases(session, set(session.scalars(lately)), until=until)
        labels = {job_id: case.standing.label for job_id, case in cases.items()}
        closed = {job_id: label for job_id, label in labels.items() if label is not None}
        return [
            ReviewedJob(
                job_id=row.job_id,
                label=closed[row.job_id],
                images=row.images,
                object_key=row.object_key,
                sha256=row.sha256,
                media_type=row.media_type,
            )
            for row in session.execute(_first_images(closed))
        ]


def _first_images(job_ids: Collection[uuid.UUID]) -> Select[Any]:
    every = aliased(JobImageRow)
    images = (
        select(func.count())
        .where(every.job_id == JobImageRow.job_id)
        .scalar_subquery()
        .label("images")
    )
    return (
        select(*JobImageRow.__table__.columns, images)
        .where(JobImageRow.index == 0, JobImageRow.job_id.in_(job_ids))
        .order_by(JobImageRow.job_id)
    )
