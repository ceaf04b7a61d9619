"""What clients do to workitems: PS3.4, sections CC.2.1, CC.2.2, CC.2.5 and CC.2.6.

A job belongs to this service: others can take it back while it waits, and no more. An order that
has no job may be claimed, and ended, by whoever performs it elsewhere.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from shared.auth.keys import ApiKey
from shared.db.session import Sessions
from shared.errors import BadRequestError, ConflictError
from shared.interop.dicom.ups import errors
from shared.interop.dicom.ups.errors import WorkitemConflictError, WorkitemRequestError
from shared.interop.dicom.ups.read import StateChange
from shared.jobs.cancel import cancel
from shared.orders.claim import claim, finish
from shared.orders.entities import NewOrder
from shared.orders.place import cancel_order, put
from shared.orders.states import (
    OrderClosedError,
    OrderExistsError,
    OrderFieldError,
    OrderState,
    WrongTransactionError,
)
from shared.orders.workitem_entities import WorkitemState
from shared.orders.workitems import get_workitem, is_known, revise

_ENDS = {
    WorkitemState.COMPLETED: OrderState.COMPLETED,
    WorkitemState.CANCELED: OrderState.CANCELLED,
}


def create(
    sessions: Sessions, workitem_id: uuid.UUID, said: Mapping[str, Any], *, key: ApiKey
) -> None:
    """Place an order as a workitem under an id of the client's.

    Raises:
        BadRequestError: A value is not valid.
        ConflictError: There is a workitem with the id, or an order with the accession number.
    """
    if is_known(sessions, workitem_id, tenant=key.tenant):
        raise ConflictError("There is such a workitem.")
    try:
        with sessions.begin() as session:
            _, created = put(
                session,
                NewOrder(**said),
                tenant=key.tenant,
                key_id=key.id,
                order_id=workitem_id,
            )
            if not created:
                # Who was as fast as this one has created it; the transaction is given up.
                raise ConflictError("There is such a workitem.")
    except OrderFieldError as error:
        raise BadRequestError(error.detail) from error


def update(
    sessions: Sessions,
    workitem_id: uuid.UUID,
    changes: Mapping[str, Any],
    transaction_uid: str,
    *,
    key: ApiKey,
) -> bool:
    """Change what an order says (PS3.18, section 11.6).

    Returns:
        Whether the changes were kept; of what another performer does, nothing is.

    Raises:
        NotFoundError: There is no such workitem.
        BadRequestError: A change is not valid.
        WorkitemRequestError: It has ended, or is claimed under another Transaction UID.
        WorkitemConflictError: It is a job's, or a Transaction UID is given and nobody claimed it.
    """
    workitem = get_workitem(sessions, workitem_id, tenant=key.tenant)
    if workitem.state.is_final:
        raise WorkitemRequestError(errors.NOT_UPDATABLE)
    if workitem.state is WorkitemState.SCHEDULED and transaction_uid:
        raise WorkitemConflictError(errors.NOT_CLAIMED)
    if workitem.job is not None:
        raise WorkitemConflictError(errors.NOT_UPDATABLE)
    try:
        return revise(
            sessions,
            workitem_id,
            changes,
            tenant=key.tenant,
            key_id=key.id,
            transaction_uid=transaction_uid,
        )
    except OrderFieldError as error:
        raise BadRequestError(error.detail) from error
    except OrderExistsError as error:
        raise BadRequestError("An order keeps its AccessionNumber.") from error
    except (OrderClosedError, WrongTransactionError) as error:
        raise WorkitemRequestError(errors.NOT_UPDATABLE) from error


def change_state(
    sessions: Sessions, workitem_id: uuid.UUID, change: StateChange, *, key: ApiKey
) -> bool:
    """Claim, complete or give up an order (PS3.18, section 11.7; PS3.4, table CC.1.1-2).

    Returns:
        Whether it had ended in that state before.

    Raises:
        NotFoundError: There is no such workitem.
        BadRequestError: The Transaction UID is no UID.
        WorkitemRequestError: The Transaction UID is missing, or not that of the claim.
        WorkitemConflictError: It stands where this cannot be done, or is a job's.
    """
    workitem = get_workitem(sessions, workitem_id, tenant=key.tenant)
    uid = change.transaction_uid
    already = workitem.state is change.state and change.state.is_final
    if not uid:
        raise WorkitemRequestError(errors.TRANSACTION_MISSING)
    if workitem.order is None:
        if already:
            return True
        raise WorkitemConflictError(errors.INCONSISTENT)
    try:
        if change.state is WorkitemState.IN_PROGRESS:
            claim(sessions, workitem_id, uid, tenant=key.tenant, key_id=key.id)
        else:
            finish(
                sessions, workitem_id, uid, _ENDS[change.state], tenant=key.tenant, key_id=key.id
            )
    except OrderFieldError as error:
        raise BadRequestError("The Transaction UID is no UID.") from error
    except WrongTransactionError as error:
        raise WorkitemRequestError(errors.TRANSACTION_INCORRECT) from error
    except OrderClosedError as error:
        if not already:
            raise WorkitemConflictError(errors.INCONSISTENT) from error
    return already


def request_cancellation(sessions: Sessions, workitem_id: uuid.UUID, *, key: ApiKey) -> bool:
    """Take a workitem back that nobody works on (PS3.18, section 11.8).

    Returns:
        Whether it had been cancelled before.

    Raises:
        NotFoundError: There is no such workitem.
        WorkitemConflictError: It is done, or somebody works on it.
    """
    workitem = get_workitem(sessions, workitem_id, tenant=key.tenant)
    if workitem.state is WorkitemState.CANCELED:
        return True
    if workitem.state is WorkitemState.COMPLETED:
        raise WorkitemConflictError(errors.ALREADY_COMPLETED)
    if workitem.job is not None:
        try:
            cancel(sessions, workitem.job.id, tenant=key.tenant, actor=f"key:{key.id}")
        except ConflictError as error:
            raise WorkitemConflictError(errors.NOT_CANCELLING) from error
    if workitem.order is not None:
        try:
            cancel_order(sessions, workitem.order.id, tenant=key.tenant, key_id=key.id)
        except OrderClosedError as error:
            raise WorkitemConflictError(errors.OUT_OF_REACH) from error
    return False
