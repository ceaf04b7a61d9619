"""Keys whose time is over soon, for metrics."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import aliased

from shared.db.models import ApiKeyRow
from shared.db.session import Sessions, execute

SOON = dt.timedelta(days=14)


@dataclass(frozen=True)
class EndingKeys:
    """How many usable keys end within `SOON`, and in how many seconds the first; None: never."""

    soon: int
    first_seconds: float | None


def ending_keys(sessions: Sessions) -> EndingKeys:
    """Keys that have an end, and none that takes their place: their holder is cut off then."""
    successor = aliased(ApiKeyRow)
    now, ends = func.clock_timestamp(), ApiKeyRow.expires_at
    statement = select(
        func.count().filter(ends <= now + SOON).label("soon"),
        func.extract("epoch", func.min(ends) - now).label("first_seconds"),
    ).where(
        ends > now,
        ApiKeyRow.revoked_at.is_(None),
        ~select(successor.id).where(successor.successor_of == ApiKeyRow.id).exists(),
    )
    (found,) = execute(sessions, statement)
    seconds = found.first_seconds
    return EndingKeys(int(found.soon), None if seconds is None else float(seconds))
