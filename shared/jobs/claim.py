"""A worker takes jobs, under a lease that it renews while it has them."""

from __future__ import annotations

import datetime as dt
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, select, tuple_, update
from sqlalchemy.orm import Session

from shared.db.models import JobImageRow, JobRow
from shared.db.session import Sessions
from shared.jobs.entities import JobImage, image_from_columns
from shared.jobs.states import Status, lock_in_order, transition, transition_many


@dataclass(frozen=True)
class Claim:
    """A job in a worker's hands. Only its holder, on this attempt, can end it.

    `isolated` tells that an earlier attempt crashed or hung: the job must run apart from others.
    """

    job_id: uuid.UUID
    worker: str
    attempt: int
    isolated: bool
    model_name: str
    model_version: int
    images: tuple[JobImage, ...]


def claim(
    sessions: Sessions, job_ids: Sequence[uuid.UUID], *, worker: str, lease_seconds: float
) -> dict[uuid.UUID, Claim]:
    """Claim queued jobs for one attempt each, in one transaction.

    Returns:
        The claims. A job that is not among them waits for nobody: it was cancelled, has ended, or
        another worker has it. That makes a message safe to deliver any number of times.
    """
    with sessions.begin() as session:
        if len(job_ids) > 1:
            lock_in_order(session, job_ids)
        rows = transition_many(
            session,
            Status.RUNNING,
            JobRow.id.in_(job_ids),
            worker=worker,
            attempts=JobRow.attempts + 1,
            started_at=func.coalesce(JobRow.started_at, func.clock_timestamp()),
            lease_expires_at=_lease_end(lease_seconds),
        )
        images = _images(session, [row.id for row in rows])
        return {
            row.id: Claim(
                job_id=row.id,
                worker=worker,
                attempt=row.attempts,
                isolated=row.isolated,
                model_name=row.model_name,
                model_version=row.model_version,
                images=tuple(images[row.id]),
            )
            for row in rows
        }


def _images(session: Session, job_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, list[JobImage]]:
    """The images of jobs, in order."""
    columns = JobImageRow.__table__.columns
    statement = select(*columns).where(JobImageRow.job_id.in_(job_ids)).order_by(JobImageRow.index)
    images: defaultdict[uuid.UUID, list[JobImage]] = defaultdict(list)
    for row in session.execute(statement):
        images[row.job_id].append(image_from_columns(row._asdict()))
    return images


def renew(sessions: Sessions, claims: Sequence[Claim], *, lease_seconds: float) -> set[uuid.UUID]:
    """The heartbeat: extend the leases of claims that still hold.

    Returns:
        The jobs whose claim holds; the others were lost to the sweeper or have ended.
    """
    if not claims:
        return set()
    statement = (
        update(JobRow)
        .where(JobRow.status == Status.RUNNING, are_held(claims))
        .values(lease_expires_at=_lease_end(lease_seconds))
        .returning(JobRow.id)
    )
    with sessions.begin() as session:
        # A group of results is written for some of these jobs at the same time.
        lock_in_order(session, [held.job_id for held in claims])
        return set(session.scalars(statement))


def are_held(claims: Iterable[Claim]) -> ColumnElement[bool]:
    """The condition that a job is in the hands of its claim, on that attempt."""
    holders = [(held.job_id, held.worker, held.attempt) for held in claims]
    return tuple_(JobRow.id, JobRow.worker, JobRow.attempts).in_(holders)


def transition_held(
    session: Session,
    held: Claim,
    to: Status,
    *conditions: ColumnElement[bool],
    **values: object,
) -> JobRow | None:
    """Move a claimed job on, if the claim still holds; None where it was lost meanwhile."""
    return transition(
        session,
        held.job_id,
        to,
        JobRow.worker == held.worker,
        JobRow.attempts == held.attempt,
        *conditions,
        **values,
    )


def _lease_end(lease_seconds: float) -> object:
    return func.clock_timestamp() + dt.timedelta(seconds=lease_seconds)
