"""A worker takes jobs, under a lease that it renews while it has them."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Interval, bindparam, func, tuple_, update
from sqlalchemy.orm import Session

from shared.db.models import JobRow
from shared.db.session import Sessions, execute
from shared.jobs.entities import JobImage, image_from_columns
from shared.jobs.queries import IMAGES
from shared.jobs.states import Priority, Status, locked_in_order, moved, transition
from shared.telemetry.about import UNKNOWN, Origin, ids_of

_CLAIM = moved(
    Status.RUNNING,
    JobRow.id.in_(locked_in_order()),
    worker=bindparam("by_worker"),
    attempts=JobRow.attempts + 1,
    started_at=func.coalesce(JobRow.started_at, func.clock_timestamp()),
    lease_expires_at=func.clock_timestamp() + bindparam("lease", type_=Interval),
).returning(
    JobRow.id,
    JobRow.attempts,
    JobRow.isolated,
    JobRow.model_name,
    JobRow.model_version,
    JobRow.priority,
    JobRow.request_id,
    JobRow.traceparent,
    IMAGES,
)
"""One statement, and so one transaction in one round trip."""


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
    priority: Priority = Priority.ROUTINE
    origin: Origin = UNKNOWN

    @property
    def ids(self) -> dict[str, str | None]:
        """What a line of the log names it by."""
        return ids_of(self.job_id, self.origin)


def claim(
    sessions: Sessions, job_ids: Sequence[uuid.UUID], *, worker: str, lease_seconds: float
) -> dict[uuid.UUID, Claim]:
    """Claim queued jobs for one attempt each, in one transaction.

    Returns:
        The claims. A job that is not among them waits for nobody: it was cancelled, has ended, or
        another worker has it. That makes a message safe to deliver any number of times.
    """
    values = {
        "job_ids": list(job_ids),
        "by_worker": worker,
        "lease": dt.timedelta(seconds=lease_seconds),
    }
    return {
        row.id: Claim(
            job_id=row.id,
            worker=worker,
            attempt=row.attempts,
            isolated=row.isolated,
            model_name=row.model_name,
            model_version=row.model_version,
            images=tuple(image_from_columns(image) for image in row.images),
            priority=Priority(row.priority),
            origin=Origin(row.request_id, row.traceparent),
        )
        for row in execute(sessions, _CLAIM, values)
    }


def renew(sessions: Sessions, claims: Sequence[Claim], *, lease_seconds: float) -> set[uuid.UUID]:
    """The heartbeat: extend the leases of claims that still hold.

    Returns:
        The jobs whose claim holds; the others were lost to the sweeper or have ended.
    """
    if not claims:
        return set()
    statement = (
        update(JobRow)
        .where(JobRow.status == Status.RUNNING, _are_held(claims))
        .values(lease_expires_at=func.clock_timestamp() + dt.timedelta(seconds=lease_seconds))
        .returning(JobRow.id)
    )
    with sessions.begin() as session:
        # A group of results is written for some of these jobs at the same time.
        session.execute(locked_in_order(), {"job_ids": [held.job_id for held in claims]})
        return set(session.scalars(statement))


def _are_held(claims: Iterable[Claim]) -> ColumnElement[bool]:
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
