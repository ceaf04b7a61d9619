"""The time of this process; the database's own clock decides about leases."""

from __future__ import annotations

import datetime as dt


def utc_now() -> dt.datetime:
    """The current time, with its zone."""
    return dt.datetime.now(dt.UTC)
