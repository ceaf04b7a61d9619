"""A worker takes jobs, under a lease that it renews while it has them."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, tuple_, update
from sqlalchemy.orm import Session

from shared.db.models import JobRow
from shared.db.session import Sessions
from shared.jobs.entities import JobImage, image_from_row
from shared.jobs.states import Status, transition


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
    sessions: Sessions, job_id: uuid.UUID, *, worker: str, lease_seconds: float
) -> Claim | None:
    """Claim a queued job for one attempt.

    Returns:
        The claim, or None where the job waits for nobody: it was cancelled, has ended, or another
        worker has it. That makes a message safe to deliver any number of times.
    """
    with sessions.begin() as session:
        row = transition(
            session,
            job_id,
            Status.RUNNING,
            worker=worker,
            attempts=JobRow.attempts + 1,
            started_at=func.coalesce(JobRow.started_at, func.clock_timestamp()),
            lease_expires_at=_lease_end(lease_seconds),
        )
        if row is None:
            return None
        return Claim(
            job_id=row.id,
            worker=worker,
            attempt=row.attempts,
            isolated=row.isolated,
            model_name=row.model_name,
            model_version=row.model_version,
            images=tuple(image_from_row(image) for image in row.images),
        )


def renew(sessions: Sessions, claims: Sequence[Claim], *, lease_seconds: float) -> set[uuid.UUID]:
    """The heartbeat: extend the leases of claims that still hold.

    Returns:
        The jobs whose claim holds; the others were lost to the sweeper or have ended.
    """
    if not claims:
        return set()
    holders = [(held.job_id, held.worker, held.attempt) for held in claims]
    statement = (
        update(JobRow)
        .where(
            JobRow.status == Status.RUNNING,
            tuple_(JobRow.id, JobRow.worker, JobRow.attempts).in_(holders),
        )
        .values(lease_expires_at=_lease_end(lease_seconds))
        .returning(JobRow.id)
    )
    with sessions.begin() as session:
        return set(session.scalars(statement))


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
