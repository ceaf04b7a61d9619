"""The time of this process; the database's own clock decides about leases."""

from __future__ import annotations

import datetime as dt


def utc_now() -> dt.datetime:
    """The current time, with its zone."""
    return dt.datetime.now(dt.UTC)


def in_utc(moment: dt.datetime) -> dt.datetime:
    """The same moment in UTC: PostgreSQL takes no zone that is 16 hours or more from it.

    Raises:
        ValueError: In UTC it is in no year from 1 to 9999.
    """
    try:
        return moment.astimezone(dt.UTC)
    except OverflowError as error:
        raise ValueError("the time is out of range") from error
