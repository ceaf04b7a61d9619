"""Rows that are a queue, each taken under a lease: which may be taken, by the database's clock.

Such a table has `id`, `status`, `worker`, `attempts`, `due_at`, `lease_expires_at` and
`finished_at`; what it calls its last statuses is its own.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select, and_, func, or_, select

NOW = func.clock_timestamp()
BACKOFF_SECONDS = 5.0
"""How long a row waits that goes back after an error."""

_QUEUED, _RUNNING = "queued", "running"


Row = TypeVar("Row")


def in_future(seconds: float) -> Any:
    """A moment so many seconds ahead; of the past where they are negative."""
    return NOW + dt.timedelta(seconds=seconds)


def is_due(row: Any) -> ColumnElement[bool]:
    """Whether a row waits, and its time has come.

    A time further ahead than any was written before the clock was set back, and is over too.
    """
    over = or_(row.due_at <= NOW, row.due_at > in_future(BACKOFF_SECONDS))
    return and_(row.status == _QUEUED, over)


def is_silent(row: Any, lease_seconds: float) -> ColumnElement[bool]:
    """Whether whoever has a row has not renewed its lease in time."""
    until = row.lease_expires_at
    over = or_(until < NOW, until > in_future(2 * lease_seconds))
    return and_(row.status == _RUNNING, over)


def unfinished(row: type[Row], condition: ColumnElement[bool]) -> Select[Row]:
    """The rows of which it holds that have not ended, locked, but those that others have."""
    finished_at: Any = row.finished_at  # type: ignore[attr-defined]
    return select(row).where(finished_at.is_(None), condition).with_for_update(skip_locked=True)


def locked(row: type[Row], row_id: Any, *, worker: str, attempt: int) -> Select[Row]:
    """The row of a claim, locked; none where the claim was lost."""
    columns: Any = row
    holds = (columns.id == row_id, columns.worker == worker, columns.attempts == attempt)
    return select(row).where(*holds).with_for_update()
