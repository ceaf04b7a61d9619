"""Reads orders."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass, fields
from itertools import product
from typing import Any

from sqlalchemy import Select, bindparam, func, select, true

from shared.auth.tenants import within, within_asked
from shared.db.cursors import newest_first
from shared.db.models import JobRow, OrderRow
from shared.db.session import Sessions, execute
from shared.errors import NotFoundError
from shared.jobs.states import Priority
from shared.orders.entities import Order, order_from_row
from shared.orders.states import OrderState

_NEWEST_JOB = (
    select(JobRow.id.label("job_id"), JobRow.status.label("job_status"))
    .where(JobRow.tenant == OrderRow.tenant, JobRow.accession_number == OrderRow.accession_number)
    .order_by(JobRow.submitted_at.desc(), JobRow.id.desc())
    .limit(1)
    .lateral()
)
# The secret of a claim stays where it is.
_COLUMNS = [column for column in OrderRow.__table__.c if column.name != "transaction_uid"]


def whole_orders() -> Select[Any]:
    """Orders, each with id and status of the newest job that has its accession number."""
    newest = _NEWEST_JOB.c
    return (
        select(*_COLUMNS, newest.job_id, newest.job_status)
        .select_from(OrderRow)
        .outerjoin(_NEWEST_JOB, true())
    )


# Made once: building a statement costs as much as running it.
_BY_ID = whole_orders().where(OrderRow.id == bindparam("order_id"), within_asked(OrderRow.tenant))
_BY_NUMBER = whole_orders().where(
    OrderRow.tenant == bindparam("tenant"), OrderRow.accession_number == bindparam("number")
)


_PLACED = dt.timedelta(hours=24)
# Not by `clock_timestamp`, whose value may change within a statement: no index is searched for it.
_COUNTS = (
    select(OrderRow.state, OrderRow.priority, func.count().label("orders"))
    .where(OrderRow.created_at > func.now() - _PLACED)
    .group_by(OrderRow.state, OrderRow.priority)
)


def recent_orders(sessions: Sessions) -> dict[tuple[OrderState, Priority], int]:
    """How many orders were placed within 24 hours, by where they stand and by priority."""
    found = {(row.state, row.priority): row.orders for row in execute(sessions, _COUNTS)}
    return {key: found.get(key, 0) for key in product(OrderState, Priority)}


@dataclass(frozen=True)
class OrderFilter:
    """Which orders to list; None means any. Scheduled from inclusive, to exclusive."""

    state: OrderState | None = None
    accession_number: str | None = None
    patient_ref: str | None = None
    specimen_id: str | None = None
    priority: Priority | None = None
    scheduled_from: dt.datetime | None = None
    scheduled_to: dt.datetime | None = None


@dataclass(frozen=True)
class OrderPage:
    """A page of orders, newest first; `next_cursor` is None on the last."""

    orders: tuple[Order, ...]
    next_cursor: str | None


def get_order(sessions: Sessions, order_id: uuid.UUID, *, tenant: str | None) -> Order:
    """Read one order.

    Raises:
        NotFoundError: The tenant has no such order.
    """
    rows = execute(sessions, _BY_ID, {"order_id": order_id, "tenant": tenant})
    if not rows:
        raise no_order(order_id)
    return order_from_row(rows[0])


def no_order(order_id: uuid.UUID) -> NotFoundError:
    """What is said of an order that there is not."""
    return NotFoundError(f"There is no order {order_id}.")


def find_order(sessions: Sessions, accession_number: str, *, tenant: str) -> Order | None:
    """Read a tenant's order with an accession number, whatever its state; None: there is none."""
    rows = execute(sessions, _BY_NUMBER, {"number": accession_number, "tenant": tenant})
    return order_from_row(rows[0]) if rows else None


def list_orders(
    sessions: Sessions,
    criteria: OrderFilter,
    *,
    tenant: str | None,
    limit: int,
    cursor: str | None = None,
) -> OrderPage:
    """List a tenant's orders, newest first, a page at a time; a cursor has the pattern `CURSOR`."""
    position = (OrderRow.__table__.c.created_at, OrderRow.__table__.c.id)
    statement = _filtered(criteria).where(within(OrderRow.tenant, tenant))
    rows, following = newest_first(sessions, statement, position, limit=limit, cursor=cursor)
    return OrderPage(tuple(order_from_row(row) for row in rows), following)


def _filtered(criteria: OrderFilter) -> Select[Any]:
    statement = whole_orders()
    for field in fields(OrderFilter):
        value = getattr(criteria, field.name)
        if value is None:
            continue
        if field.name == "scheduled_from":
            condition = OrderRow.scheduled_at >= value
        elif field.name == "scheduled_to":
            condition = OrderRow.scheduled_at < value
        else:
            condition = getattr(OrderRow, field.name) == value
        statement = statement.where(condition)
    return statement
