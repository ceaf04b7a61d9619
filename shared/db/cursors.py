"""Cursors of lists that go from the newest to the oldest, a page at a time."""

from __future__ import annotations

import datetime as dt
import uuid

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
