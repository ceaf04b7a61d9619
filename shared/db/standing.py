"""How rows that are a queue stand: counts by status, for tables of hundreds of rows and no more."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from shared.db.session import Sessions, execute


@dataclass(frozen=True)
class Standing:
    """How many rows have a status, and the seconds since the oldest of them; 0 if there is none."""

    status: str
    count: int
    oldest_seconds: float


def standings(sessions: Sessions, row: Any, since: Any, statuses: Iterable[str]) -> list[Standing]:
    """The standing of each status, whether or not any row has it.

    Args:
        sessions: The database.
        row: The class of the rows, which have a `status`.
        since: The column that a row's age counts from.
        statuses: All statuses that there are.
    """
    age = func.extract("epoch", func.clock_timestamp() - func.min(since)).label("age")
    statement = select(row.status, func.count().label("rows"), age).group_by(row.status)
    found = {found.status: found for found in execute(sessions, statement)}
    return [
        Standing(status, found[status].rows, float(found[status].age))
        if status in found
        else Standing(status, 0, 0.0)
        for status in statuses
    ]
