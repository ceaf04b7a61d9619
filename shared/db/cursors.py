"""Cursors of lists that go from the newest to the oldest, a page at a time."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, tuple_

from shared.db.session import Sessions, execute

CURSOR = r"^[0-9]{1,17}-[0-9a-f]{32}$"
"""A time in microseconds since 1970, up to the year 5138, and an id: what a page is below."""

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)


def cursor_of(at: dt.datetime, row_id: uuid.UUID) -> str:
    """The cursor behind a row, by its time and its id."""
    return f"{(at - _EPOCH) // _MICROSECOND}-{row_id.hex}"


def position_of(cursor: str) -> tuple[dt.datetime, uuid.UUID]:
    """The time and the id that a text of the pattern `CURSOR` stands for."""
    microseconds, _, row_id = cursor.partition("-")
    return _EPOCH + int(microseconds) * _MICROSECOND, uuid.UUID(row_id)


def newest_first(
    sessions: Sessions,
    statement: Select[Any],
    position: tuple[ColumnElement[Any], ColumnElement[Any]],
    *,
    limit: int,
    cursor: str | None,
) -> tuple[Sequence[Row[Any]], str | None]:
    """A page of rows, and the cursor of the next one; None on the last.

    Args:
        sessions: Of the database.
        statement: What is listed; it selects both columns of the position.
        position: The columns of a row's time and its id.
        limit: The most on a page.
        cursor: That of the page before, or another text of the pattern `CURSOR`.
    """
    at, row_id = position
    statement = statement.order_by(at.desc(), row_id.desc())
    if cursor is not None:
        statement = statement.where(tuple_(at, row_id) < tuple_(*position_of(cursor)))
    rows = execute(sessions, statement.limit(limit + 1))
    if len(rows) <= limit:
        return rows, None
    last = rows[limit - 1]._mapping
    return rows[:limit], cursor_of(last[at], last[row_id])
