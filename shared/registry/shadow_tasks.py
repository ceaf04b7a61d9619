"""What the challenger is to look at: jobs that others have answered.

Jobs, their results, and whatever is told of them stay as they are.
"""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, literal, select, text
from sqlalchemy.dialects.postgresql import insert

from shared.db.models import ResultRow, ShadowResultRow
from shared.db.session import Sessions, execute
from shared.registry.aliases import read_aliases
from shared.registry.states import Alias
from shared.telemetry.about import UNKNOWN, Origin, ids_of
from shared.triage.result import TriageResult

Position = tuple[dt.datetime, uuid.UUID]
"""A place among the results: when one was given, and its job."""

_LAST_ID = uuid.UUID(int=2**128 - 1)

_STEP = 5000
"""As many results are compared with what is done in one statement, so that each is a short one."""

# The last row is of the last result that was compared, whether it is pending or not.
_PENDING = text(
    """
    WITH compared AS MATERIALIZED (
        SELECT job_id, created_at FROM results
        WHERE (created_at, job_id) > (:after_at, :after_id)
        ORDER BY created_at, job_id LIMIT :step
    )
    (
        SELECT c.job_id, c.created_at, true AS is_pending, j.request_id, j.traceparent
        FROM compared AS c JOIN jobs AS j ON j.id = c.job_id
        WHERE (j.model_name, j.model_version) <> (:name, :version)
            AND NOT EXISTS (
                SELECT FROM shadow_results AS s
                WHERE s.job_id = c.job_id AND s.name = :name AND s.version = :version
            )
        ORDER BY c.created_at, c.job_id LIMIT :limit
    )
    UNION ALL
    (
        SELECT job_id, created_at, false, NULL, NULL FROM compared
        ORDER BY created_at DESC, job_id DESC LIMIT 1
    )
    """
)

_MOMENT = text(
    """
    SELECT clock_timestamp() AS at, EXISTS (
        SELECT FROM jobs WHERE status = 'queued' AND queued_at < statement_timestamp() - :longest
    ) AS live_jobs_wait
    """
)


@dataclass(frozen=True)
class ShadowTask:
    """A job that the challenger `name@version` has not looked at yet, and when it finished."""

    job_id: uuid.UUID
    name: str
    version: int
    finished_at: dt.datetime
    origin: Origin = UNKNOWN

    @property
    def ids(self) -> dict[str, str | None]:
        """What a line of the log names it by."""
        return {**ids_of(self.job_id, self.origin), "challenger": f"{self.name}@{self.version}"}

    @property
    def position(self) -> Position:
        """Where it is among the results."""
        return self.finished_at, self.job_id


@dataclass(frozen=True)
class Moment:
    """A time by the database's clock, and whether live jobs had been waiting for too long."""

    at: dt.datetime
    live_jobs_wait: bool


def moment(sessions: Sessions, *, longest_seconds: float) -> Moment:
    """Look at the clock, and whether a job waits for a worker for longer than so many seconds.

    A job that is tried again later does not wait until then.
    """
    longest = dt.timedelta(seconds=longest_seconds)
    row = execute(sessions, _MOMENT, {"longest": longest})[0]
    return Moment(row.at, row.live_jobs_wait)


def pending(sessions: Sessions, *, limit: int, after: Position | None = None) -> list[ShadowTask]:
    """What the present challenger has not looked at, oldest first: jobs that finished as others'.

    Args:
        sessions: The database.
        limit: At most so many; fewer does not mean that no more are left.
        after: Nothing is looked for before it; None: since the challenger was set.

    Returns:
        The tasks; none without a challenger.
    """
    challenger = read_aliases(sessions).get(Alias.CHALLENGER)
    if challenger is None:
        return []
    name, version = challenger.name, challenger.version
    beginning = (challenger.since, _LAST_ID)
    position = beginning if after is None else max(after, beginning)
    while True:
        values = {"name": name, "version": version, "limit": limit, "step": _STEP}
        where = {"after_at": position[0], "after_id": position[1]}
        rows = execute(sessions, _PENDING, {**values, **where})
        if not rows:
            return []
        *found, last = rows
        if found:
            return [
                ShadowTask(
                    *(row.job_id, name, version, row.created_at),
                    Origin(row.request_id, row.traceparent),
                )
                for row in found
            ]
        position = (last.created_at, last.job_id)


def keep(sessions: Sessions, task: ShadowTask, said: TriageResult | str) -> None:
    """Keep what the challenger says of a job, once; what is kept already stays.

    Args:
        sessions: The database.
        task: The job and the challenger.
        said: Its result, or the code of the error for which there is none.
    """
    columns: dict[str, Any] = {
        "job_id": ResultRow.job_id,
        "name": literal(task.name),
        "version": literal(task.version),
    }
    if isinstance(said, str):
        columns["error_code"] = literal(said)
    else:
        same = (ResultRow.prediction == said.prediction, ResultRow.urgency == said.urgency)
        document = said.model_dump(mode="json")
        columns |= {
            "agrees": and_(*same),
            "prediction": literal(str(said.prediction)),
            "confidence": literal(said.confidence),
            "urgency": literal(str(said.urgency)),
            "document": literal(document, ShadowResultRow.document.type),
        }
    rows = select(*columns.values()).where(ResultRow.job_id == task.job_id)
    statement = insert(ShadowResultRow).from_select([*columns], rows)
    execute(sessions, statement.on_conflict_do_nothing())
