"""How often reviewers agree with each model version."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from statistics import NormalDist
from typing import Any

from sqlalchemy import Row, Select, func, select
from sqlalchemy.dialects.postgresql import distinct_on

from shared.db.models import JobRow, ResultRow, ReviewRow
from shared.db.session import Sessions, execute
from shared.reviews.record import Decision

SPAN = dt.timedelta(days=90)
"""Age of the oldest review that counts."""
_Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Override:
    """How many jobs of one prediction were given one other label."""

    prediction: str
    label: str
    jobs: int


@dataclass(frozen=True)
class Agreement:
    """Reviewed jobs of one model version, each by its newest review."""

    model: str
    confirmed: int
    overridden: tuple[Override, ...]

    @property
    def reviewed(self) -> int:
        """All of them; at least 1."""
        return self.confirmed + sum(override.jobs for override in self.overridden)

    @property
    def share(self) -> float:
        """Confirmed of reviewed, 0 to 1."""
        return self.confirmed / self.reviewed

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the share."""
        return wilson(self.confirmed, self.reviewed)


def agreements(sessions: Sessions) -> list[Agreement]:
    """The agreement with each version that has reviews within `SPAN`, by name and number."""
    rows = execute(sessions, _counts())
    return [_agreement(model, own) for model, own in groupby(rows, key=attrgetter("model"))]


def wilson(count: int, total: int) -> tuple[float, float]:
    """95 % interval of a proportion, total > 0.

    Source: Wilson 1927, J. Am. Stat. Assoc. 22:209.
    """
    share, square = count / total, _Z**2 / total
    middle = share + square / 2
    spread = _Z * math.sqrt(share * (1 - share) / total + square / (4 * total))
    low, high = (middle - spread) / (1 + square), (middle + spread) / (1 + square)
    return max(low, 0.0), min(high, 1.0)


def _counts() -> Select[Any]:
    newest = (
        select(ReviewRow.job_id, ReviewRow.decision, ReviewRow.label)
        .ext(distinct_on(ReviewRow.job_id))
        .where(ReviewRow.at > func.now() - SPAN)
        .order_by(ReviewRow.job_id, ReviewRow.id.desc())
        .subquery()
    )
    version = (JobRow.model_name, JobRow.model_version)
    kind = (ResultRow.prediction, newest.c.decision, newest.c.label)
    model = func.concat(JobRow.model_name, "@", JobRow.model_version).label("model")
    return (
        select(model, *kind, func.count().label("jobs"))
        .select_from(newest)
        .join(JobRow, JobRow.id == newest.c.job_id)
        .join(ResultRow, ResultRow.job_id == newest.c.job_id)
        .group_by(*version, *kind)
        .order_by(*version, *kind)
    )


def _agreement(model: str, rows: Iterable[Row[Any]]) -> Agreement:
    confirmed, overridden = 0, []
    for row in rows:
        if row.decision == Decision.CONFIRM:
            confirmed += row.jobs
        else:
            overridden.append(Override(row.prediction, row.label, row.jobs))
    return Agreement(model, confirmed, tuple(overridden))
