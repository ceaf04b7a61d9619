"""Another performer takes an order, and ends it (DICOM PS3.4 section CC.1.1)."""

from __future__ import annotations

import uuid

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from shared import audit
from shared.db.models import JobRow, OrderRow
from shared.db.session import Sessions
from shared.jobs.states import Status
from shared.orders.entities import Order, checked_uid
from shared.orders.place import locked_order
from shared.orders.queries import get_order
from shared.orders.states import OrderClosedError, OrderState, WrongTransactionError

_ENDS = (OrderState.COMPLETED, OrderState.CANCELLED)


def claim(
    sessions: Sessions,
    order_id: uuid.UUID,
    transaction_uid: str,
    *,
    tenant: str,
    key_id: str,
) -> Order:
    """Take an expected order for a performer that is not this service.

    A job that is posted in this moment is accepted all the same: images are never sent away.

    Args:
        sessions: The database.
        order_id: The order.
        transaction_uid: By which the performer goes on; who knows it may end the order.
        tenant: Whose order it is.
        key_id: The API key of the performer.

    Raises:
        NotFoundError: The tenant has no such order.
        OrderFieldError: `transaction_uid` is no UID.
        OrderClosedError: It is not expected, or is done here: it has a job that is not cancelled.
    """
    uid = checked_uid(transaction_uid)
    with sessions.begin() as session:
        row = locked_order(session, order_id, tenant=tenant)
        if row.state != OrderState.EXPECTED:
            raise OrderClosedError(f"It is {row.state}.")
        if _has_job(session, row):
            raise OrderClosedError("There is a job for it.")
        row.transaction_uid = uid
        row.performer = key_id
        _move(session, row, OrderState.CLAIMED, key_id)
    return get_order(sessions, order_id, tenant=tenant)


def finish(
    sessions: Sessions,
    order_id: uuid.UUID,
    transaction_uid: str,
    state: OrderState,
    *,
    tenant: str,
    key_id: str,
) -> Order:
    """End a claimed order; ended again in the same way, by the same claim, it stays so.

    The transaction UID decides, not the key: a performer may have got a new key in between.

    Args:
        sessions: The database.
        order_id: The order.
        transaction_uid: Of the claim.
        state: `COMPLETED` or `CANCELLED`.
        tenant: Whose order it is.
        key_id: The API key of who ends it.

    Raises:
        ValueError: `state` is no end.
        NotFoundError: The tenant has no such order.
        OrderFieldError: `transaction_uid` is no UID.
        WrongTransactionError: It was claimed under another transaction UID.
        OrderClosedError: Nobody has claimed it, or it has ended.
    """
    if state not in _ENDS:
        raise ValueError(f"expected one of {_ENDS}, received {state}")
    uid = checked_uid(transaction_uid)
    with sessions.begin() as session:
        row = locked_order(session, order_id, tenant=tenant)
        if row.transaction_uid is None:
            raise OrderClosedError(f"It is {row.state}.")
        if row.transaction_uid != uid:
            raise WrongTransactionError
        if row.state == OrderState.CLAIMED:
            _move(session, row, state, key_id)
        elif row.state != state:
            raise OrderClosedError(f"It is {row.state}.")
    return get_order(sessions, order_id, tenant=tenant)


def _has_job(session: Session, row: OrderRow) -> bool:
    ours = exists().where(
        JobRow.tenant == row.tenant,
        JobRow.accession_number == row.accession_number,
        JobRow.status != Status.CANCELLED,
    )
    return bool(session.scalar(select(ours)))


def _move(session: Session, row: OrderRow, to: OrderState, key_id: str) -> None:
    row.state = to
    row.updated_at = func.clock_timestamp()
    audit.record(session, f"key:{key_id}", f"order.{to}", order=str(row.id))
