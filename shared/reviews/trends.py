"""How reviewers' agreement with a model version went, and whether its confidence holds."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from sqlalchemy import text

from shared.db.session import Sessions, execute
from shared.reviews.agreement import SPAN, wilson
from shared.reviews.labels import Decision

_BINS = 10

# Each job by its newest review, as in `agreement`.
_REVIEWED = """
    WITH newest AS (
        SELECT DISTINCT ON (job_id) job_id, decision, at FROM reviews
        WHERE at > statement_timestamp() - CAST(:span AS interval) ORDER BY job_id, id DESC
    ), reviewed AS (
        SELECT newest.at, newest.decision = :confirm AS confirmed, results.confidence
        FROM newest JOIN results USING (job_id) JOIN jobs ON jobs.id = newest.job_id
        WHERE jobs.model_name = :name AND jobs.model_version = :version
    )
"""
_WEEKLY = text(
    f"""
    {_REVIEWED}
    SELECT date_trunc('week', at) AS at, count(*) AS reviewed,
        count(*) FILTER (WHERE confirmed) AS confirmed
    FROM reviewed GROUP BY 1 ORDER BY 1
    """  # noqa: S608 - of constants alone
)
_BY_CONFIDENCE = text(
    f"""
    {_REVIEWED}
    SELECT avg(confidence) AS confidence, count(*) AS reviewed,
        count(*) FILTER (WHERE confirmed) AS confirmed
    FROM reviewed
    GROUP BY least(floor(confidence * :bins), :bins - 1) ORDER BY 1
    """  # noqa: S608 - of constants alone
)


@dataclass(frozen=True)
class Reviewed:
    """Reviewed jobs of one group; at least 1."""

    reviewed: int
    confirmed: int

    @property
    def share(self) -> float:
        """Confirmed of reviewed, 0 to 1."""
        return self.confirmed / self.reviewed

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the share."""
        return wilson(self.confirmed, self.reviewed)


@dataclass(frozen=True)
class Week(Reviewed):
    """Jobs whose newest review is of the week that began at `at`."""

    at: dt.datetime


@dataclass(frozen=True)
class Bin(Reviewed):
    """Jobs of one tenth of confidence, with their mean confidence, 0 to 1.

    Of a calibrated version the share lies near it (a reliability diagram: Murphy and Winkler 1977,
    J. R. Stat. Soc. C 26:41), as far as those who review did not choose by it.
    """

    confidence: float


def weekly(sessions: Sessions, name: str, version: int) -> list[Week]:
    """The agreement with a version, by week within `SPAN`, oldest first."""
    rows = execute(sessions, _WEEKLY, _values(name, version))
    return [Week(row.reviewed, row.confirmed, row.at) for row in rows]


def by_confidence(sessions: Sessions, name: str, version: int) -> list[Bin]:
    """The agreement with a version within `SPAN`, by tenths of confidence that have reviews."""
    rows = execute(sessions, _BY_CONFIDENCE, {**_values(name, version), "bins": _BINS})
    return [Bin(row.reviewed, row.confirmed, row.confidence) for row in rows]


def _values(name: str, version: int) -> dict[str, object]:
    return {"name": name, "version": version, "span": SPAN, "confirm": Decision.CONFIRM}
