"""What is open in the queues of explanations."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from sqlalchemy import func, select

from shared.db.models import ExplanationRow
from shared.db.session import Sessions, execute
from shared.explanations.method import Method
from shared.explanations.states import ExplanationStatus

_OPEN = [status for status in ExplanationStatus if not status.is_final]
_AGE = func.extract("epoch", func.clock_timestamp() - func.min(ExplanationRow.requested_at))
_BACKLOGS = (
    select(
        ExplanationRow.method,
        ExplanationRow.status,
        func.count().label("waiting"),
        func.greatest(_AGE, 0).label("age"),
    )
    .where(ExplanationRow.finished_at.is_(None))
    .group_by(ExplanationRow.method, ExplanationRow.status)
)


@dataclass(frozen=True)
class Backlog:
    """How many explanations of one method have one open status; the age of the oldest, or 0."""

    method: Method
    status: ExplanationStatus
    count: int
    oldest_seconds: float


def backlogs(sessions: Sessions) -> list[Backlog]:
    """The backlog of each method and each open status, whether or not there is any."""
    rows = execute(sessions, _BACKLOGS)
    found = {(row.method, row.status): (row.waiting, float(row.age)) for row in rows}
    return [
        Backlog(method, status, *found.get((method, status), (0, 0.0)))
        for method, status in product(Method, _OPEN)
    ]
