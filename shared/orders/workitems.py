"""Orders and jobs as one worklist of workitems (DICOM PS3.4 annex CC, PS3.18 chapter 11).

An expected order follows its newest job that was not cancelled, and its jobs are not listed beside
it. Any other order stands by itself, and so does each job without an expected order: a workitem
that has ended stays so, whatever images come for it later.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Select,
    Uuid,
    and_,
    cast,
    exists,
    false,
    func,
    null,
    or_,
    select,
    union_all,
)

from shared.db.models import DicomSourceRow, JobRow, OrderRow
from shared.db.session import Sessions, execute
from shared.errors import NotFoundError
from shared.jobs.entities import Job, job_from_row
from shared.jobs.queries import whole_jobs
from shared.jobs.states import Status
from shared.orders.entities import NewOrder, Order, order_from_row
from shared.orders.place import locked_order, put
from shared.orders.queries import whole_orders
from shared.orders.states import OrderClosedError, OrderState, WrongTransactionError
from shared.orders.wildcards import matches
from shared.orders.workitem_entities import (
    OF_JOBS,
    OF_ORDERS,
    Input,
    Workitem,
    WorkitemFilter,
    WorkitemPage,
    WorkitemState,
)

_FOLLOWED = (
    select(JobRow.id, JobRow.status, JobRow.patient_ref)
    .where(
        JobRow.tenant == OrderRow.tenant,
        JobRow.accession_number == OrderRow.accession_number,
        JobRow.status != Status.CANCELLED,
    )
    .order_by(JobRow.submitted_at.desc(), JobRow.id.desc())
    .limit(1)
    .lateral("followed")
)
_HAS_EXPECTED_ORDER = exists().where(
    OrderRow.tenant == JobRow.tenant,
    OrderRow.accession_number == JobRow.accession_number,
    OrderRow.state == OrderState.EXPECTED,
)


def get_workitem(sessions: Sessions, workitem_id: uuid.UUID, *, tenant: str) -> Workitem:
    """Read one workitem, by the id of its order or its job; of a job whether or not it is listed.

    Raises:
        NotFoundError: The tenant has no such order or job.
    """
    found = execute(sessions, _with_id(workitem_id, tenant))
    if not found:
        raise NotFoundError(f"There is no order or job {workitem_id}.")
    return _whole(sessions, [(found[0].order_id, found[0].job_id)])[0]


def is_known(sessions: Sessions, workitem_id: uuid.UUID, *, tenant: str) -> bool:
    """Whether an order or a job of a tenant has the id."""
    return bool(execute(sessions, _with_id(workitem_id, tenant)))


def search_workitems(
    sessions: Sessions, criteria: WorkitemFilter, *, tenant: str, limit: int, offset: int = 0
) -> WorkitemPage:
    """List a tenant's workitems, newest first: `limit` of them behind the first `offset`."""
    both = union_all(
        _orders().where(OrderRow.tenant == tenant, *_of_orders(criteria)),
        _jobs().where(JobRow.tenant == tenant, ~_HAS_EXPECTED_ORDER, *_of_jobs(criteria)),
    ).subquery()
    page = (
        select(both.c.order_id, both.c.job_id, func.count().over().label("matches"))
        .order_by(both.c.at.desc(), both.c.order_id, both.c.job_id)
        .limit(limit)
        .offset(offset)
    )
    rows = execute(sessions, page)
    found = _whole(sessions, [(row.order_id, row.job_id) for row in rows])
    return WorkitemPage(found, rows[0].matches - offset - len(rows) if rows else 0)


def revise(
    sessions: Sessions,
    order_id: uuid.UUID,
    changes: Mapping[str, Any],
    *,
    tenant: str,
    key_id: str,
    transaction_uid: str | None = None,
) -> bool:
    """Change what an expected order says; of a claimed one, only see who asks.

    Args:
        sessions: The database.
        order_id: The order.
        changes: New values by the names of `NewOrder`; what is not named stays as it is.
        tenant: Whose order it is.
        key_id: The API key of who changes it.
        transaction_uid: Of the claim, where the order is claimed.

    Returns:
        Whether the changes were kept: what a performer says of its work, an order does not have.

    Raises:
        NotFoundError: The tenant has no such order.
        OrderFieldError: A change is not valid.
        OrderClosedError: It has ended.
        OrderExistsError: The changes name another accession number.
        WrongTransactionError: It is claimed under another transaction UID than this.
    """
    with sessions.begin() as session:
        row = locked_order(session, order_id, tenant=tenant)
        if row.state == OrderState.CLAIMED:
            held, said = row.transaction_uid or "", transaction_uid or ""
            if not secrets.compare_digest(held.encode(), said.encode()):
                raise WrongTransactionError
            return False
        if row.state != OrderState.EXPECTED:
            raise OrderClosedError(f"It is {row.state}.")
        says = {field.name: getattr(row, field.name) for field in fields(NewOrder)}
        new = NewOrder(**(says | dict(changes)))
        put(session, new, tenant=tenant, key_id=key_id, order_id=order_id)
        return True


def _with_id(workitem_id: uuid.UUID, tenant: str) -> CompoundSelect[Any]:
    return union_all(
        _orders().where(OrderRow.id == workitem_id, OrderRow.tenant == tenant),
        _jobs().where(JobRow.id == workitem_id, JobRow.tenant == tenant),
    )


def _orders() -> Select[Any]:
    return (
        select(
            OrderRow.id.label("order_id"),
            _FOLLOWED.c.id.label("job_id"),
            OrderRow.created_at.label("at"),
        )
        .select_from(OrderRow)
        .outerjoin(_FOLLOWED, OrderRow.state == OrderState.EXPECTED)
    )


def _jobs() -> Select[Any]:
    no_order = cast(null(), Uuid).label("order_id")
    return select(no_order, JobRow.id.label("job_id"), JobRow.submitted_at.label("at"))


def _of_orders(criteria: WorkitemFilter) -> list[ColumnElement[bool]]:
    start = func.coalesce(OrderRow.scheduled_at, OrderRow.created_at)
    patient = func.coalesce(OrderRow.patient_ref, _FOLLOWED.c.patient_ref)
    conditions = _shared(criteria, OrderRow, start, patient)
    if criteria.state is not None:
        closed = [
            state
            for state, means in OF_ORDERS.items()
            if means is criteria.state and state is not OrderState.EXPECTED
        ]
        followed: ColumnElement[bool] = _FOLLOWED.c.status.in_(_statuses(criteria.state))
        if criteria.state is WorkitemState.SCHEDULED:
            followed = or_(followed, _FOLLOWED.c.id.is_(None))
        expected = and_(OrderRow.state == OrderState.EXPECTED, followed)
        conditions.append(or_(OrderRow.state.in_(closed), expected))
    return conditions


def _of_jobs(criteria: WorkitemFilter) -> list[ColumnElement[bool]]:
    conditions = _shared(criteria, JobRow, JobRow.submitted_at, JobRow.patient_ref)
    if criteria.state is not None:
        conditions.append(JobRow.status.in_(_statuses(criteria.state)))
    return conditions


def _statuses(state: WorkitemState) -> list[Status]:
    return [status for status, means in OF_JOBS.items() if means is state]


def _shared(
    criteria: WorkitemFilter,
    row: type[OrderRow] | type[JobRow],
    start: Any,
    patient: Any,
) -> list[ColumnElement[bool]]:
    """The conditions that are the same for orders and for jobs."""
    conditions: list[ColumnElement[bool]] = []
    if criteria.ids is not None:
        conditions.append(row.id.in_(criteria.ids) if criteria.ids else false())
    if criteria.priority is not None:
        conditions.append(row.priority == criteria.priority)
    if criteria.accession_number is not None:
        conditions.append(matches(row.accession_number, criteria.accession_number))
    if criteria.patient_refs is not None:
        conditions.append(patient.in_(criteria.patient_refs))
    if criteria.scheduled_from is not None:
        conditions.append(start >= criteria.scheduled_from)
    if criteria.scheduled_to is not None:
        conditions.append(start < criteria.scheduled_to)
    return conditions


def _whole(
    sessions: Sessions, pairs: Sequence[tuple[uuid.UUID | None, uuid.UUID | None]]
) -> tuple[Workitem, ...]:
    """The workitems of so many orders with jobs, in their order."""
    order_ids = [order_id for order_id, _ in pairs if order_id is not None]
    job_ids = [job_id for _, job_id in pairs if job_id is not None]
    orders: dict[uuid.UUID | None, Order] = {}
    jobs: dict[uuid.UUID | None, Job] = {}
    if order_ids:
        rows = execute(sessions, whole_orders().where(OrderRow.id.in_(order_ids)))
        orders = {row.id: order_from_row(row) for row in rows}
    if job_ids:
        rows = execute(sessions, whole_jobs().where(JobRow.id.in_(job_ids)))
        jobs = {row.id: job_from_row(row) for row in rows}
    inputs = _inputs(sessions, job_ids)
    return tuple(
        Workitem(orders.get(order_id) or jobs[job_id], jobs.get(job_id), inputs.get(job_id, ()))
        for order_id, job_id in pairs
    )


def _inputs(
    sessions: Sessions, job_ids: Sequence[uuid.UUID]
) -> dict[uuid.UUID | None, tuple[Input, ...]]:
    """Of each job the instances that its images came from, once, in the order of images."""
    if not job_ids:
        return {}
    names = [getattr(DicomSourceRow, field.name) for field in fields(Input)]
    statement = (
        select(DicomSourceRow.job_id, *names)
        .where(DicomSourceRow.job_id.in_(job_ids))
        .order_by(DicomSourceRow.job_id, DicomSourceRow.index)
    )
    found: dict[uuid.UUID, dict[str, Input]] = {}
    for row in execute(sessions, statement):
        columns = row._asdict()
        of_job = found.setdefault(columns.pop("job_id"), {})
        of_job.setdefault(row.instance_uid, Input(**columns))
    return {job_id: tuple(of_job.values()) for job_id, of_job in found.items()}
