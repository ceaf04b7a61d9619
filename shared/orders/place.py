"""Orders are placed, changed and taken back.

Who needs several orders in one transaction uses `put` and `take_back` in a session of its own.
"""

from __future__ import annotations

import uuid
from dataclasses import fields

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from shared import audit
from shared.auth.tenants import EVERY_TENANT
from shared.db.models import OrderRow
from shared.db.session import Sessions
from shared.orders.entities import NewOrder, Order, checked
from shared.orders.queries import get_order, no_order
from shared.orders.states import OrderClosedError, OrderExistsError, OrderState


def place(
    sessions: Sessions,
    new: NewOrder,
    *,
    tenant: str,
    key_id: str,
    order_id: uuid.UUID | None = None,
) -> tuple[Order, bool]:
    """Place an order; the tenant's one with that accession number says this from now on.

    The same thing twice is no change. A cancelled order is expected again.

    Args:
        sessions: The database.
        new: What is ordered.
        tenant: Whose order it is.
        key_id: The API key of who places it.
        order_id: The id that it is to have; None: a new one.

    Returns:
        The order, and whether it was created.

    Raises:
        OrderFieldError: A field is not valid.
        OrderClosedError: It is claimed or completed, and said something else.
        OrderExistsError: `order_id` or the accession number is another order's.
    """
    with sessions.begin() as session:
        placed, created = put(session, new, tenant=tenant, key_id=key_id, order_id=order_id)
    return get_order(sessions, placed, tenant=tenant), created


def put(
    session: Session,
    new: NewOrder,
    *,
    tenant: str,
    key_id: str,
    order_id: uuid.UUID | None = None,
    of_same_placer: bool = False,
) -> tuple[uuid.UUID, bool]:
    """As `place`, in an open transaction; returns the order's id and whether it was created.

    With `of_same_placer` a number that another placer has given is another order's: two hospitals
    may count alike, and the one's patient must not become the other's.
    """
    values = {field.name: getattr(checked(new), field.name) for field in fields(NewOrder)}
    new_id = order_id or uuid.uuid4()
    statement = insert(OrderRow).values(id=new_id, tenant=tenant, api_key_id=key_id, **values)
    # Waits for who places the same order just now, and then finds what became of it.
    created = session.scalar(statement.on_conflict_do_nothing().returning(OrderRow.id))
    if created is not None:
        audit.record(session, f"key:{key_id}", "order.placed", order=str(created))
        return created, True
    row = session.scalar(
        select(OrderRow)
        .where(OrderRow.tenant == tenant, OrderRow.accession_number == values["accession_number"])
        .with_for_update()
    )
    if row is None or order_id not in (None, row.id):
        raise OrderExistsError
    if of_same_placer and row.placer not in (None, values["placer"]):
        raise OrderExistsError
    _replace(session, row, values, key_id)
    return row.id, False


def cancel_order(
    sessions: Sessions, order_id: uuid.UUID, *, tenant: str | None, key_id: str
) -> Order:
    """Take an expected order back; one that is cancelled stays so.

    Raises:
        NotFoundError: The tenant has no such order.
        OrderClosedError: It is claimed or completed.
    """
    with sessions.begin() as session:
        take_back(session, order_id, tenant=tenant, key_id=key_id)
    return get_order(sessions, order_id, tenant=tenant)


def take_back(session: Session, order_id: uuid.UUID, *, tenant: str | None, key_id: str) -> None:
    """As `cancel_order`, in an open transaction."""
    row = locked_order(session, order_id, tenant=tenant)
    if row.state == OrderState.CANCELLED:
        return
    if row.state != OrderState.EXPECTED:
        raise OrderClosedError(f"It is {row.state}.")
    row.state = OrderState.CANCELLED
    row.updated_at = func.clock_timestamp()
    audit.record(session, f"key:{key_id}", "order.cancelled", order=str(order_id))


def locked_order(session: Session, order_id: uuid.UUID, *, tenant: str | None) -> OrderRow:
    """The row of an order, locked until the transaction ends.

    Raises:
        NotFoundError: The tenant has no such order.
    """
    row = session.get(OrderRow, order_id, with_for_update=True, populate_existing=True)
    if row is None or tenant not in (EVERY_TENANT, row.tenant):
        raise no_order(order_id)
    return row


def _replace(session: Session, row: OrderRow, values: dict[str, object], key_id: str) -> None:
    if row.state in (OrderState.CLAIMED, OrderState.COMPLETED):
        if all(getattr(row, name) == value for name, value in values.items()):
            return  # it is repeated: the answer to its placement was lost
        raise OrderClosedError(f"It is {row.state}.")
    # Of who gave it up, nothing stays with an order that is expected again.
    wanted = values | {"state": OrderState.EXPECTED, "performer": None, "transaction_uid": None}
    changed = sorted(name for name, value in wanted.items() if getattr(row, name) != value)
    if not changed:
        return
    for name in changed:
        setattr(row, name, wanted[name])
    row.updated_at = func.clock_timestamp()
    audit.record(
        session, f"key:{key_id}", "order.changed", order=str(row.id), changed=",".join(changed)
    )
