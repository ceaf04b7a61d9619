"""Figures of jobs that have ended, for metrics: no scrape reads all jobs that there are."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from sqlalchemy import bindparam, func, select

from shared.db.models import JobRow, ResultRow
from shared.db.session import Sessions, execute
from shared.jobs.states import Status

SPAN = dt.timedelta(hours=24)
"""How long ago a job may have ended to be counted: what was wrong once is not wrong for weeks.

A dead job is counted however long ago that was: it waits for somebody to queue it again."""
NEWEST = 1000
"""As many results of that time are looked at."""
QUANTILES = (0.5, 0.95)


@dataclass(frozen=True)
class Unsuccessful:
    """How many jobs stand in a status without a result, by the code of the reason."""

    status: Status
    code: str
    count: int


@dataclass(frozen=True)
class Turnaround:
    """A quantile of the seconds from submission to result, by priority."""

    priority: str
    quantile: float
    seconds: float


# By `now`: no index is searched for `clock_timestamp`, whose value may change within a statement.
_FAILED = (
    select(JobRow.error_code, func.count().label("jobs"))
    .where(
        JobRow.status.in_((Status.FAILED, Status.DEAD)),  # as its index says it
        JobRow.status == Status.FAILED,
        JobRow.finished_at > func.now() - SPAN,
    )
    .group_by(JobRow.error_code)
)
_DEAD = (
    select(JobRow.error_code, func.count().label("jobs"))
    .where(JobRow.status == Status.DEAD)
    .group_by(JobRow.error_code)
)
_newest_results = (
    select(ResultRow.job_id, ResultRow.created_at)
    .where(ResultRow.created_at > func.now() - SPAN)
    .order_by(ResultRow.created_at.desc())
    .limit(NEWEST)
    .subquery()
)
_seconds = func.extract("epoch", _newest_results.c.created_at - JobRow.submitted_at)
_TURNAROUND = (
    select(
        JobRow.priority,
        func.percentile_cont(bindparam("quantiles")).within_group(_seconds).label("seconds"),
    )
    .join(_newest_results, _newest_results.c.job_id == JobRow.id)
    .group_by(JobRow.priority)
)


def unsuccessful(sessions: Sessions) -> list[Unsuccessful]:
    """Jobs that failed within `SPAN`, and all that are dead; none that was queued again."""
    return [
        Unsuccessful(status, row.error_code, row.jobs)
        for status, statement in ((Status.FAILED, _FAILED), (Status.DEAD, _DEAD))
        for row in execute(sessions, statement)
    ]


def turnarounds(sessions: Sessions) -> list[Turnaround]:
    """Median and 95th percentile, in seconds, of the newest 1,000 results of a day by priority."""
    rows = execute(sessions, _TURNAROUND, {"quantiles": list(QUANTILES)})
    return [
        Turnaround(row.priority, quantile, float(seconds))
        for row in rows
        for quantile, seconds in zip(QUANTILES, row.seconds, strict=True)
    ]
