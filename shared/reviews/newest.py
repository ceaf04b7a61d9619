"""What reviewers found lately, as labels to train on."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from shared.db.models import ReviewRow
from shared.db.session import Sessions, execute
from shared.reviews.record import ReviewLabel

_NEWEST = text(
    """
    SELECT newest.job_id, newest.label, first.object_key, first.sha256, first.media_type,
        (SELECT count(*) FROM job_images WHERE job_id = newest.job_id) AS images
    FROM (
        SELECT DISTINCT ON (job_id) job_id, label FROM reviews
        WHERE id > :after AND id <= :until ORDER BY job_id, id DESC
    ) AS newest
    JOIN job_images AS first ON first.job_id = newest.job_id AND first.index = 0
    ORDER BY newest.job_id
    """
)


@dataclass(frozen=True)
class ReviewedJob:
    """A job's label by its newest review, its number of images, and the first of them."""

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


def newest_reviews(sessions: Sessions, *, after: int, until: int) -> list[ReviewedJob]:
    """The newest review of each job that was reviewed, by ids above `after` and up to `until`."""
    rows = execute(sessions, _NEWEST, {"after": after, "until": until})
    return [
        ReviewedJob(
            job_id=row.job_id,
            label=ReviewLabel(row.label),
            images=row.images,
            object_key=row.object_key,
            sha256=row.sha256,
            media_type=row.media_type,
        )
        for row in rows
    ]
