"""The state machine of a job. Every change of a status is a `moved` or a `transition`.

  ┌────────────────────────────────────┐
  ▼                                    │ an operator requeues it
queued ──► running ──► succeeded       │
 │ │ ▲       │  ├────► failed ─────────┤  the job itself is at fault; no retry helps
 │ │ └───────┘  └────► dead ───────────┘  crashed, hung or raised too often; or waited too long
 │ └─────────────────► dead
 └──► cancelled
"""

from __future__ import annotations

import datetime as dt
import uuid
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Select,
    Update,
    Uuid,
    any_,
    bindparam,
    func,
    select,
    update,
)
from sqlalchemy.orm import Session

from shared.db.models import JobRow


class Status(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"  # accepted and stored; waits for a worker
    RUNNING = "running"  # claimed by one worker, under a lease
    SUCCEEDED = "succeeded"  # has its one result
    FAILED = "failed"  # cannot succeed; its error says why
    CANCELLED = "cancelled"  # taken back before any worker claimed it
    DEAD = "dead"  # a dead letter: tried too often or waiting too long; its error says which

    @property
    def is_final(self) -> bool:
        """Whether nothing more happens to the job by itself."""
        return self not in (Status.QUEUED, Status.RUNNING)


class Priority(StrEnum):
    """How soon a job is to be run; each has a queue of the same name."""

    STAT = "stat"  # at once
    URGENT = "urgent"
    ROUTINE = "routine"


SOURCES: dict[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.RUNNING, Status.FAILED, Status.DEAD}),
    Status.RUNNING: frozenset({Status.QUEUED}),
    Status.SUCCEEDED: frozenset({Status.RUNNING}),
    Status.FAILED: frozenset({Status.RUNNING}),
    Status.CANCELLED: frozenset({Status.QUEUED}),
    Status.DEAD: frozenset({Status.RUNNING, Status.QUEUED}),
}
"""From which states each state may be reached."""


def expiry(after_seconds: float) -> Any:
    """The moment, by the database's clock, until which a job queued now may wait."""
    return func.clock_timestamp() + dt.timedelta(seconds=after_seconds)


def transition(
    session: Session,
    job_id: uuid.UUID,
    to: Status,
    *conditions: ColumnElement[bool],
    **values: Any,
) -> JobRow | None:
    """Move a job to another state in one guarded UPDATE.

    A job that leaves `running` gives up its worker and its lease; one that is queued again loses
    its end and its error.

    Args:
        session: An open transaction.
        job_id: The job.
        to: The new state.
        conditions: What must hold besides the state machine.
        values: Other columns to set with it.

    Returns:
        The row as it is now, or None where the job is in no state that leads there or a condition
        does not hold.
    """
    statement = moved(to, JobRow.id == job_id, *conditions, **values).returning(JobRow)
    return session.scalar(statement.execution_options(populate_existing=True))


def moved(to: Status, *conditions: ColumnElement[bool], **values: Any) -> Update:
    """The guarded UPDATE by itself, of all jobs of which the conditions hold."""
    if to is not Status.RUNNING:
        values |= {"worker": None, "lease_expires_at": None}
    if to is Status.QUEUED:
        values |= {"finished_at": None, "error_code": None, "error_detail": None}
    guard = JobRow.status.in_(SOURCES[to])
    return update(JobRow).where(guard, *conditions).values(status=to, **values)


def locked_in_order() -> Select[uuid.UUID]:
    """The ids of the jobs `:job_ids`, with their rows locked in an order that all keep.

    Two who want some of the same wait for one another, and never in a ring.
    """
    return select(JobRow.id).where(is_named()).order_by(JobRow.id).with_for_update()


def is_named() -> ColumnElement[bool]:
    """The condition that a job is one of the parameter `:job_ids`."""
    return JobRow.id == any_(bindparam("job_ids", type_=ARRAY(Uuid)))
