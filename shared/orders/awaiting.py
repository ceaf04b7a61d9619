"""Reads the orders that images are awaited of: what a modality's worklist is made of."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, or_, select

from shared.db.session import Sessions, execute
from shared.jobs.states import Status
from shared.orders.entities import Order, order_from_row
from shared.orders.queries import whole_orders
from shared.orders.states import OrderState
from shared.orders.wildcards import matches

_EACH = whole_orders().subquery()
_STARTS_AT = func.coalesce(_EACH.c.scheduled_at, _EACH.c.created_at)


@dataclass(frozen=True)
class AwaitedFilter:
    """Which of these orders; None means any. Texts may have `*` and `?`, as in DICOM.

    `starts_from` is inclusive and `starts_before` exclusive. An order that was scheduled for no
    time starts when it was placed. `number_pattern` is a regular expression of PostgreSQL.
    """

    accession_numbers: tuple[str, ...] = ()
    patient_ref: str | None = None
    starts_from: dt.datetime | None = None
    starts_before: dt.datetime | None = None
    number_pattern: str | None = None


def awaited_orders(
    sessions: Sessions, criteria: AwaitedFilter, *, tenant: str, limit: int
) -> list[Order]:
    """Orders that are expected and have no result yet, the latest start first.

    One whose job failed is among them: new images can be made of it.

    Args:
        sessions: The database.
        criteria: All of `accession_numbers` must hold.
        tenant: Whose.
        limit: The most.
    """
    statement = (
        select(_EACH)
        .where(_EACH.c.tenant == tenant, *_conditions(criteria))
        .order_by(_STARTS_AT.desc(), _EACH.c.id.desc())
        .limit(limit)
    )
    return [order_from_row(row) for row in execute(sessions, statement)]


def _conditions(criteria: AwaitedFilter) -> list[ColumnElement[bool]]:
    each = _EACH.c
    conditions = [
        each.state == OrderState.EXPECTED,
        or_(each.job_status.is_(None), each.job_status != Status.SUCCEEDED),
        *(matches(each.accession_number, text) for text in criteria.accession_numbers),
    ]
    if criteria.patient_ref is not None:
        conditions.append(matches(each.patient_ref, criteria.patient_ref))
    if criteria.starts_from is not None:
        conditions.append(criteria.starts_from <= _STARTS_AT)
    if criteria.starts_before is not None:
        conditions.append(criteria.starts_before > _STARTS_AT)
    if criteria.number_pattern is not None:
        conditions.append(each.accession_number.regexp_match(criteria.number_pattern))
    return conditions
