"""An order that a performer claims is that performer's to end."""

from __future__ import annotations

import pytest

from shared.auth.keys import Scope, create_key
from shared.auth.tenants import DEFAULT_TENANT
from shared.jobs.cancel import cancel
from shared.jobs.states import Status
from shared.orders.place import cancel_order, place
from shared.orders.queries import get_order
from shared.orders.states import (
    OrderClosedError,
    OrderState,
    WrongTransactionError,
)
from tests.integration.jobs import post
from tests.integration.orders.placing import ORDER, actions, claimed, ended, placed


def test_a_claimed_order_is_out_of_the_hands_of_its_placer(sessions, key_id) -> None:
    order = placed(sessions, key_id)
    performer = create_key(sessions, "bench", [Scope.SUBMIT])[0].id
    held = claimed(sessions, performer, order)
    assert (held.state, held.performer) == (OrderState.CLAIMED, performer)
    for call in (
        lambda: placed(sessions, key_id, specimen_id="S-2"),
        lambda: cancel_order(sessions, order.id, key_id=key_id, tenant=DEFAULT_TENANT),
        lambda: claimed(sessions, key_id, order, "2.25.2"),
    ):
        with pytest.raises(OrderClosedError):
            call()
    assert get_order(sessions, order.id, tenant=DEFAULT_TENANT) == held


def test_what_is_repeated_after_a_claim_is_no_change(sessions, key_id) -> None:
    order = placed(sessions, key_id)
    held = claimed(sessions, key_id, order)
    assert place(sessions, ORDER, key_id=key_id, tenant=DEFAULT_TENANT) == (held, False)
    done = ended(sessions, key_id, order)
    assert place(sessions, ORDER, key_id=key_id, tenant=DEFAULT_TENANT) == (done, False)


@pytest.mark.parametrize("end", [OrderState.COMPLETED, OrderState.CANCELLED])
def test_who_knows_the_transaction_ends_the_order(sessions, key_id, end: OrderState) -> None:
    order = placed(sessions, key_id)
    claimed(sessions, key_id, order)
    with pytest.raises(WrongTransactionError):
        ended(sessions, key_id, order, end, "2.25.2")
    for _ in range(2):
        assert ended(sessions, key_id, order, end).state is end
    assert actions(sessions) == ["order.placed", "order.claimed", f"order.{end}"]
    (other,) = {OrderState.COMPLETED, OrderState.CANCELLED} - {end}
    with pytest.raises(OrderClosedError):
        ended(sessions, key_id, order, other)


def test_an_order_that_nobody_claimed_cannot_be_ended(sessions, key_id) -> None:
    order = placed(sessions, key_id)
    with pytest.raises(OrderClosedError):
        ended(sessions, key_id, order)
    with pytest.raises(ValueError, match="expected"):
        ended(sessions, key_id, order, OrderState.EXPECTED)


def test_of_who_gave_an_order_up_nothing_stays_once_it_is_placed_again(sessions, key_id) -> None:
    order = placed(sessions, key_id)
    claimed(sessions, key_id, order)
    ended(sessions, key_id, order, OrderState.CANCELLED)
    assert placed(sessions, key_id).performer is None
    with pytest.raises(OrderClosedError):
        ended(sessions, key_id, order)


def test_an_order_tells_of_its_newest_job(sessions, storage, key_id) -> None:
    order = placed(sessions, key_id)
    post(sessions, storage, key_id, accession_number="A-1")
    post(sessions, storage, key_id, accession_number="A-2")
    newest = post(sessions, storage, key_id, accession_number="A-1").job
    read = get_order(sessions, order.id, tenant=DEFAULT_TENANT)
    assert (read.job_id, read.job_status) == (newest.id, Status.QUEUED)
    cancel(sessions, newest.id, actor="test", tenant=DEFAULT_TENANT)
    assert get_order(sessions, order.id, tenant=DEFAULT_TENANT).job_status is Status.CANCELLED


def test_an_order_that_is_done_here_cannot_be_claimed(sessions, storage, key_id) -> None:
    order = placed(sessions, key_id)
    job = post(sessions, storage, key_id, accession_number="A-1").job
    with pytest.raises(OrderClosedError):
        claimed(sessions, key_id, order)
    cancel(sessions, job.id, actor="test", tenant=DEFAULT_TENANT)
    assert claimed(sessions, key_id, order).state is OrderState.CLAIMED
