"""Reads the results of a span of time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from sqlalchemy import JSON, Row, func, literal_column, select, tuple_
from sqlalchemy.orm import Session

from shared.db.models import JobRow, ResultRow
from shared.monitoring.drift import effective_size
from shared.monitoring.measures import Observations, observe
from shared.triage.result import FieldResult

_PAGE = 100
_IMAGES = literal_column("results.document -> 'images'", JSON()).label("images")
_OF_RESULT: tuple[Any, ...] = (
    ResultRow.created_at,
    ResultRow.job_id,
    JobRow.model_name,
    JobRow.model_version,
    _IMAGES,
)
_MODEL = func.concat(JobRow.model_name, "@", JobRow.model_version).label("model")


@dataclass(frozen=True)
class Version:
    """A model version by its name and number, as jobs have it."""

    name: str
    number: int

    def __str__(self) -> str:
        return f"{self.name}@{self.number}"


@dataclass
class Use:
    """The fields that one version was used on, newest job first."""

    fields: list[FieldResult] = field(default_factory=list)
    job_sizes: list[int] = field(default_factory=list)

    def add(self, images: list[FieldResult]) -> None:
        """Add the fields of one job."""
        self.fields += images
        self.job_sizes.append(len(images))

    @property
    def observed(self) -> Observations:
        """Their measures."""
        return observe(self.fields)

    @property
    def effective(self) -> float:
        """How many independent observations they are worth."""
        return effective_size(self.job_sizes)


def newest_fields(
    session: Session, since: dt.datetime, until: dt.datetime, *, limit: int
) -> dict[Version, Use]:
    """The newest fields with results in (since, until], at most `limit`, by model version.

    They are read a page at a time, so that no more is in memory than what is returned.
    """
    found: dict[Version, Use] = {}
    left = limit
    for row in islice(_newest_results(session, since, until), limit):
        images = [FieldResult.model_validate(image) for image in row.images[:left]]
        version = Version(row.model_name, row.model_version)
        found.setdefault(version, Use()).add(images)
        left -= len(images)
        if left <= 0:
            break
    return found


def _newest_results(session: Session, since: dt.datetime, until: dt.datetime) -> Iterator[Row[Any]]:
    place = tuple_(ResultRow.created_at, ResultRow.job_id)
    page = (
        select(*_OF_RESULT)
        .join(JobRow, JobRow.id == ResultRow.job_id)
        .where(ResultRow.created_at > since, ResultRow.created_at <= until)
        .order_by(ResultRow.created_at.desc(), ResultRow.job_id.desc())
        .limit(_PAGE)
    )
    rows = session.execute(page).all()
    while rows:
        yield from rows
        last = rows[-1]
        rows = session.execute(page.where(place < tuple_(last.created_at, last.job_id))).all()


def count_results(session: Session, since: dt.datetime, until: dt.datetime) -> list[dict[str, Any]]:
    """Count all results in (since, until].

    Returns:
        Plain data: `model`, `prediction`, `urgency`, `requires_review` and `count` of each kind.
    """
    kind = (_MODEL, ResultRow.prediction, ResultRow.urgency, ResultRow.requires_review)
    rows = session.execute(
        select(*kind, func.count().label("count"))
        .join(JobRow, JobRow.id == ResultRow.job_id)
        .where(ResultRow.created_at > since, ResultRow.created_at <= until)
        .group_by(JobRow.model_name, JobRow.model_version, *kind[1:])
        .order_by(*kind)
    )
    return [dict(row._mapping) for row in rows]
