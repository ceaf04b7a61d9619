"""How what a challenger says of jobs compares with the results that others gave."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, Select, func, select

from shared.auth.tenants import within
from shared.db.models import JobRow, ResultRow, ReviewRow, ShadowResultRow
from shared.db.session import Sessions, execute
from shared.triage.labels import Label
from shared.triage.policy import Urgency


@dataclass(frozen=True)
class Reviewed:
    """Jobs with a review, and how many of them each of the two had right by the newest."""

    jobs: int
    result_right: int
    challenger_right: int


@dataclass(frozen=True)
class Agreement:
    """The results that a version has looked at, and what it says of them.

    What is not of all `jobs` is of those `compared`; means are None without any.
    """

    model: str
    jobs: int
    errors: int
    """Jobs of which the version gives no result."""
    same_prediction: int
    same_urgency: int
    agreeing: int
    """The same in both."""
    lowered: int
    """The version's urgency is less urgent than the result's."""
    raised: int
    to_benign: int
    """The result says malignant, the version benign."""
    to_malignant: int
    confusion: dict[str, dict[str, int]]
    """Jobs by the result's prediction, then by the version's."""
    result_confidence: float | None
    challenger_confidence: float | None
    first_at: dt.datetime | None
    """When the first of the results was given."""
    last_at: dt.datetime | None
    reviewed: Reviewed

    @property
    def compared(self) -> int:
        """Jobs of which there are two results."""
        return self.jobs - self.errors


@dataclass(frozen=True)
class Opinion:
    """What a model says of a job."""

    model: str
    prediction: str
    confidence: float
    urgency: str


@dataclass(frozen=True)
class Disagreement:
    """A job of which a challenger predicts or decides something else than its result."""

    job_id: uuid.UUID
    at: dt.datetime
    """When the result was given."""
    result: Opinion
    challenger: Opinion
    review: str | None
    """What the newest review found."""


def agreement(sessions: Sessions, name: str, version: int) -> Agreement:
    """How a version compares with the results of all jobs that it has looked at."""
    groups = execute(sessions, _grouped(name, version))
    both = [group for group in groups if group.other_prediction is not None]
    benign = str(Label.BENIGN)
    return Agreement(
        model=f"{name}@{version}",
        jobs=_jobs(groups),
        errors=_jobs(groups) - _jobs(both),
        same_prediction=_jobs(both, lambda g: g.prediction == g.other_prediction),
        same_urgency=_jobs(both, lambda g: g.urgency == g.other_urgency),
        agreeing=_jobs(both, lambda g: g.agrees),
        lowered=_jobs(both, lambda g: _rank(g.other_urgency) > _rank(g.urgency)),
        raised=_jobs(both, lambda g: _rank(g.other_urgency) < _rank(g.urgency)),
        to_benign=_jobs(both, lambda g: g.prediction != benign == g.other_prediction),
        to_malignant=_jobs(both, lambda g: g.prediction == benign != g.other_prediction),
        confusion=_confusion(both),
        result_confidence=_mean(both, "confidence"),
        challenger_confidence=_mean(both, "other_confidence"),
        first_at=min((group.first_at for group in groups), default=None),
        last_at=max((group.last_at for group in groups), default=None),
        reviewed=Reviewed(
            jobs=_jobs(both, lambda g: g.review is not None),
            result_right=_jobs(both, lambda g: g.review == g.prediction),
            challenger_right=_jobs(both, lambda g: g.review == g.other_prediction),
        ),
    )


def disagreements(
    sessions: Sessions,
    name: str,
    version: int,
    *,
    tenant: str | None,
    limit: int,
    before: uuid.UUID | None = None,
) -> list[Disagreement]:
    """A tenant's jobs of which a version says something else, the newest first.

    Args:
        sessions: The database.
        name: Of the version.
        version: Its number.
        tenant: Whose jobs; figures are of all together, and name none.
        limit: As many at once.
        before: A job of an earlier call, to go on behind it.
    """
    model = func.concat(JobRow.model_name, "@", JobRow.model_version).label("model")
    statement = (
        _compared(name, version)
        .add_columns(model)
        .join(JobRow, JobRow.id == ResultRow.job_id)
        .where(~ShadowResultRow.agrees, within(JobRow.tenant, tenant))
        .order_by(ShadowResultRow.job_id.desc())
        .limit(limit)
    )
    if before is not None:
        statement = statement.where(ShadowResultRow.job_id < before)
    return [_disagreement(f"{name}@{version}", row) for row in execute(sessions, statement)]


def _compared(name: str, version: int) -> Select[Any]:
    """Results with what a version says of their jobs, which is null where it gives no result."""
    review = (
        select(ReviewRow.label)
        .where(ReviewRow.job_id == ShadowResultRow.job_id)
        .order_by(ReviewRow.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    given = (ResultRow.prediction, ResultRow.confidence, ResultRow.urgency)
    other = (ShadowResultRow.prediction, ShadowResultRow.confidence, ShadowResultRow.urgency)
    said = (of.label(f"other_{of.key}") for of in other)
    return (
        select(ShadowResultRow.job_id, ResultRow.created_at, ShadowResultRow.agrees, *given)
        .add_columns(*said, review.label("review"))
        .join(ResultRow, ResultRow.job_id == ShadowResultRow.job_id)
        .where(ShadowResultRow.name == name, ShadowResultRow.version == version)
    )


def _grouped(name: str, version: int) -> Select[Any]:
    """The same, counted by all that is compared."""
    one = _compared(name, version).subquery().c
    given, said = (one.prediction, one.urgency), (one.other_prediction, one.other_urgency)
    kind = (*given, *said, one.agrees, one.review)
    return select(
        *kind,
        func.count().label("jobs"),
        func.sum(one.confidence).label("confidence"),
        func.sum(one.other_confidence).label("other_confidence"),
        func.min(one.created_at).label("first_at"),
        func.max(one.created_at).label("last_at"),
    ).group_by(*kind)


def _jobs(groups: Sequence[Row[Any]], holds: Callable[[Row[Any]], bool] | None = None) -> int:
    return sum(group.jobs for group in groups if holds is None or holds(group))


def _mean(groups: Sequence[Row[Any]], summed: str) -> float | None:
    jobs = _jobs(groups)
    return sum(getattr(group, summed) for group in groups) / jobs if jobs else None


def _rank(urgency: str) -> int:
    return Urgency(urgency).rank


def _confusion(groups: Sequence[Row[Any]]) -> dict[str, dict[str, int]]:
    confusion = {str(given): {str(said): 0 for said in Label} for given in Label}
    for group in groups:
        confusion[group.prediction][group.other_prediction] += group.jobs
    return confusion


def _disagreement(challenger: str, row: Row[Any]) -> Disagreement:
    return Disagreement(
        job_id=row.job_id,
        at=row.created_at,
        result=Opinion(row.model, row.prediction, row.confidence, row.urgency),
        challenger=Opinion(
            challenger, row.other_prediction, row.other_confidence, row.other_urgency
        ),
        review=row.review,
    )
