"""The triage worklist: results by urgency and deadline, and the jobs that are still to have one.

Each urgency is two lanes, with a deadline and without, and each lane is an index that is
read forwards from where the page begins. So a page reads at most its own length of each lane.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, cast

from sqlalchemy import (
    CTE,
    JSON,
    ColumnElement,
    ScalarSelect,
    Select,
    column,
    func,
    literal,
    literal_column,
    select,
    tuple_,
    union_all,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by

from shared.auth.tenants import within
from shared.db.cursors import cursor_of, position_of
from shared.db.models import JobRow, ResultRow
from shared.db.session import Sessions, execute
from shared.jobs.states import Priority
from shared.reviews.standing import CaseState
from shared.triage.labels import Label
from shared.triage.policy import Urgency

WORKLIST_CURSOR = r"^[0-7]-[0-9]{1,17}-[0-9a-f]{32}$"
"""A lane, then what `shared.db.cursors.CURSOR` has: what a page is behind."""


@dataclass(frozen=True)
class WorklistFilter:
    """Which results to list; None means any. Times are of results, from inclusive, to exclusive."""

    urgency: Urgency | None = None
    requires_review: bool | None = None
    closed: bool | None = None
    priority: Priority | None = None
    accession_number: str | None = None
    result_from: dt.datetime | None = None
    result_to: dt.datetime | None = None


@dataclass(frozen=True)
class Case:
    """A job with a result, as it stands in the worklist.

    Attributes:
        due_at: The latest moment of the policy's timeline; None: no deadline.
        reasons: The codes of what asks for review.
        reasons_of_fields: Those of each field, in order.
        state: How far readers have come.
        label: What a closed case was found to be.
    """

    job_id: uuid.UUID
    priority: Priority
    accession_number: str | None
    specimen_id: str | None
    patient_ref: str | None
    prediction: Label
    confidence: float
    urgency: Urgency
    requires_review: bool
    reasons: tuple[str, ...]
    reasons_of_fields: tuple[tuple[str, ...], ...]
    result_at: dt.datetime
    due_at: dt.datetime | None
    state: CaseState
    label: str | None

    @property
    def images(self) -> int:
        """How many fields it has."""
        return len(self.reasons_of_fields)


@dataclass(frozen=True)
class WorklistPage:
    """A page of cases, the most urgent first; `next_cursor` is None on the last."""

    cases: tuple[Case, ...]
    next_cursor: str | None


@dataclass(frozen=True)
class _Lane:
    """Results of one urgency, with a deadline or without; `place` counts the lanes from 0."""

    place: int
    urgency: Urgency
    has_deadline: bool


def worklist(
    sessions: Sessions,
    criteria: WorklistFilter,
    *,
    tenant: str | None,
    limit: int,
    cursor: str | None = None,
) -> WorklistPage:
    """List results by urgency, then by deadline, then by time, a page at a time.

    Args:
        sessions: Of the database.
        criteria: Which results.
        tenant: Whose.
        limit: The most on a page.
        cursor: `next_cursor` of the page before, or another text of `WORKLIST_CURSOR`.
    """
    behind = None if cursor is None else _position(cursor)
    conditions = _conditions(criteria, tenant)
    lanes = [
        _of_lane(lane, conditions, behind).limit(limit + 1)
        for lane in _LANES
        if criteria.urgency in (None, lane.urgency) and (behind is None or lane.place >= behind[0])
    ]
    if not lanes:
        return WorklistPage((), None)
    found = union_all(*(select(lane.subquery()) for lane in lanes)).subquery()
    order = (found.c.lane, found.c.sorted_at, found.c.job_id)
    rows = execute(sessions, _whole(select(found).order_by(*order).limit(limit + 1).cte("page")))
    cases = tuple(_case(row) for row in rows[:limit])
    if len(rows) <= limit:
        return WorklistPage(cases, None)
    last = rows[limit - 1]
    return WorklistPage(cases, f"{last.lane}-{cursor_of(last.sorted_at, last.job_id)}")


def newest_result_at(sessions: Sessions, *, tenant: str | None) -> dt.datetime | None:
    """When the newest result was written; None: there is none."""
    newest = select(func.max(ResultRow.created_at).label("newest"))
    (row,) = execute(sessions, newest.where(within(ResultRow.tenant, tenant)))
    return cast("dt.datetime | None", row.newest)


def new_since(
    sessions: Sessions, criteria: WorklistFilter, since: dt.datetime | None, *, tenant: str | None
) -> dict[Urgency, int]:
    """How many results there are of each urgency that were written after a moment, or at all."""
    newer = [] if since is None else [ResultRow.created_at > since]
    statement = (
        select(ResultRow.urgency, func.count().label("results"))
        .where(*newer, *_conditions(criteria, tenant))
        .group_by(ResultRow.urgency)
    )
    counts = {Urgency(row.urgency): row.results for row in execute(sessions, statement)}
    return {urgency: counts[urgency] for urgency in Urgency if urgency in counts}


def _of_lane(
    lane: _Lane,
    shared: Sequence[ColumnElement[bool]],
    behind: tuple[int, dt.datetime, uuid.UUID] | None,
) -> Select[Any]:
    row = ResultRow
    sorted_at: Any = row.due_at if lane.has_deadline else row.created_at
    is_in_lane = row.due_at.is_not(None) if lane.has_deadline else row.due_at.is_(None)
    conditions = [row.urgency == lane.urgency, is_in_lane, *shared]
    if behind is not None and behind[0] == lane.place:
        conditions.append(tuple_(sorted_at, row.job_id) > tuple_(*behind[1:]))
    # Without a deadline the first is the same in all; it is named because the index has it.
    order = (row.due_at, sorted_at, row.job_id)
    columns = (row.job_id, literal(lane.place).label("lane"), sorted_at.label("sorted_at"))
    found: Select[Any] = select(*columns).where(*conditions).order_by(*order)
    return found


def _conditions(criteria: WorklistFilter, tenant: str | None) -> list[ColumnElement[bool]]:
    conditions = [within(ResultRow.tenant, tenant)]
    if criteria.urgency is not None:
        conditions.append(ResultRow.urgency == criteria.urgency)
    if criteria.requires_review is not None:
        conditions.append(ResultRow.requires_review.is_(criteria.requires_review))
    if criteria.closed is not None:
        state: ColumnElement[str] = literal_column(f"'{CaseState.CLOSED}'")  # as the index says it
        is_closed = ResultRow.case_state == state
        conditions.append(is_closed if criteria.closed else ResultRow.case_state != state)
    if criteria.result_from is not None:
        conditions.append(ResultRow.created_at >= criteria.result_from)
    if criteria.result_to is not None:
        conditions.append(ResultRow.created_at < criteria.result_to)
    of_job = [
        column == value
        for column, value in (
            (JobRow.priority, criteria.priority),
            (JobRow.accession_number, criteria.accession_number),
        )
        if value is not None
    ]
    if of_job:
        conditions.append(ResultRow.job_id.in_(select(JobRow.id).where(*of_job)))
    return conditions


def _whole(page: CTE) -> Select[Any]:
    """The cases of a page with all that is shown of them."""
    document = ResultRow.document
    job, result = JobRow, ResultRow
    return (
        select(
            *(page.c.lane, page.c.sorted_at, page.c.job_id),
            *(job.priority, job.accession_number, job.specimen_id, job.patient_ref),
            *(result.prediction, result.confidence, result.urgency, result.requires_review),
            document["reasons"].label("reasons"),
            _of_each_field(document["images"], "reasons").label("reasons_of_fields"),
            result.created_at.label("result_at"),
            *(result.due_at, result.case_state, result.case_label),
        )
        .join(result, result.job_id == page.c.job_id)
        .join(job, job.id == page.c.job_id)
        .order_by(page.c.lane, page.c.sorted_at, page.c.job_id)
    )


def _of_each_field(images: ColumnElement[Any], name: str) -> ScalarSelect[Any]:
    """What each image of a document has under a name, in the order of the images."""
    elements = func.json_array_elements(images)
    each = elements.table_valued(column("value", JSON), with_ordinality="place").render_derived()
    values = func.json_agg(aggregate_order_by(each.c.value[name], each.c.place))
    return select(values).select_from(each).scalar_subquery()


def _case(row: Any) -> Case:
    return Case(
        job_id=row.job_id,
        priority=Priority(row.priority),
        accession_number=row.accession_number,
        specimen_id=row.specimen_id,
        patient_ref=row.patient_ref,
        prediction=Label(row.prediction),
        confidence=row.confidence,
        urgency=Urgency(row.urgency),
        requires_review=row.requires_review,
        reasons=tuple(row.reasons),
        reasons_of_fields=tuple(map(tuple, row.reasons_of_fields)),
        result_at=row.result_at,
        due_at=row.due_at,
        state=CaseState(row.case_state),
        label=row.case_label,
    )


def _position(cursor: str) -> tuple[int, dt.datetime, uuid.UUID]:
    lane, _, position = cursor.partition("-")
    return int(lane), *position_of(position)


_LANES = tuple(
    _Lane(place, urgency, has_deadline)
    for place, (urgency, has_deadline) in enumerate(product(Urgency, (True, False)))
)
