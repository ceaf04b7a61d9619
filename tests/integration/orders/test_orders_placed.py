"""What an order says: that which was said last, while nobody has claimed it."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest

from shared.audit.queries import AuditFilter, list_events
from shared.auth.tenants import DEFAULT_TENANT
from shared.db.models import OrderRow
from shared.errors import NotFoundError
from shared.orders.claim import claim, finish
from shared.orders.entities import NewOrder
from shared.orders.place import cancel_order, place, put
from shared.orders.queries import find_order, get_order
from shared.orders.states import (
    OrderExistsError,
    OrderFieldError,
    OrderState,
)
from tests.integration.jobs import count
from tests.integration.orders.placing import ORDER, TRANSACTION, actions, details, placed, said


def test_an_order_is_read_as_it_was_placed(sessions, key_id) -> None:
    order, created = place(sessions, ORDER, key_id=key_id, tenant=DEFAULT_TENANT)
    assert created
    assert said(order) == ORDER
    assert (order.state, order.api_key_id, order.job_id) == (OrderState.EXPECTED, key_id, None)
    assert (
        get_order(sessions, order.id, tenant=DEFAULT_TENANT)
        == find_order(sessions, "A-1", tenant=DEFAULT_TENANT)
        == order
    )
    assert actions(sessions) == ["order.placed"]


def test_the_same_order_twice_is_no_change(sessions, key_id) -> None:
    first, _ = place(sessions, ORDER, key_id=key_id, tenant=DEFAULT_TENANT)
    again, created = place(sessions, ORDER, key_id=key_id, tenant=DEFAULT_TENANT)
    assert (again, created) == (first, False)
    assert actions(sessions) == ["order.placed"]


def test_an_expected_order_says_what_was_said_last(sessions, key_id) -> None:
    first, _ = place(sessions, ORDER, key_id=key_id, tenant=DEFAULT_TENANT)
    other = NewOrder("A-1", specimen_id="S-2")
    changed, created = place(sessions, other, key_id=key_id, tenant=DEFAULT_TENANT)
    assert (said(changed), changed.id, created) == (other, first.id, False)
    assert changed.updated_at > first.updated_at
    assert "specimen_id" in details(sessions, "order.changed")["changed"].split(",")


def test_the_audit_trail_has_names_of_fields_and_nothing_of_a_patient(sessions, key_id) -> None:
    placed(sessions, key_id, patient_ref="Jane Doe")
    placed(sessions, key_id, patient_ref="Jane Roe")
    events = list_events(sessions, AuditFilter(), limit=100).events
    assert actions(sessions) == ["order.placed", "order.changed"]
    assert details(sessions, "order.changed")["changed"] == "patient_ref"
    assert "Jane" not in "".join(str(event.details) for event in events)


def test_an_order_with_a_wrong_field_is_not_placed(sessions, key_id) -> None:
    with pytest.raises(OrderFieldError):
        placed(sessions, key_id, specimen_id="S\x00")
    assert count(sessions, OrderRow) == 0


def test_an_order_gets_the_id_that_is_asked_for(sessions, key_id) -> None:
    wanted = uuid.uuid4()
    order, _ = place(sessions, ORDER, key_id=key_id, order_id=wanted, tenant=DEFAULT_TENANT)
    again, created = place(sessions, ORDER, key_id=key_id, order_id=wanted, tenant=DEFAULT_TENANT)
    assert (order.id, again, created) == (wanted, order, False)


def test_an_id_and_a_number_are_those_of_one_order(sessions, key_id) -> None:
    order, _ = place(sessions, ORDER, key_id=key_id, tenant=DEFAULT_TENANT)
    other = replace(ORDER, accession_number="A-2")
    for new, order_id in ((ORDER, uuid.uuid4()), (other, order.id)):
        with pytest.raises(OrderExistsError):
            place(sessions, new, key_id=key_id, order_id=order_id, tenant=DEFAULT_TENANT)
    assert count(sessions, OrderRow) == 1


def test_a_cancelled_order_stays_so_until_it_is_placed_again(sessions, key_id) -> None:
    order, _ = place(sessions, ORDER, key_id=key_id, tenant=DEFAULT_TENANT)
    for _ in range(2):
        assert (
            cancel_order(sessions, order.id, key_id=key_id, tenant=DEFAULT_TENANT).state
            is OrderState.CANCELLED
        )
    assert (
        place(sessions, ORDER, key_id=key_id, tenant=DEFAULT_TENANT)[0].state is OrderState.EXPECTED
    )
    assert actions(sessions) == ["order.placed", "order.cancelled", "order.changed"]


def test_what_is_no_order_can_be_neither_read_nor_changed(sessions, key_id) -> None:
    unknown = uuid.uuid4()
    for call in (
        lambda: get_order(sessions, unknown, tenant=DEFAULT_TENANT),
        lambda: cancel_order(sessions, unknown, key_id=key_id, tenant=DEFAULT_TENANT),
        lambda: claim(sessions, unknown, TRANSACTION, key_id=key_id, tenant=DEFAULT_TENANT),
        lambda: finish(
            sessions,
            unknown,
            TRANSACTION,
            OrderState.COMPLETED,
            key_id=key_id,
            tenant=DEFAULT_TENANT,
        ),
    ):
        with pytest.raises(NotFoundError):
            call()
    assert find_order(sessions, "A-1", tenant=DEFAULT_TENANT) is None


def test_what_one_transaction_places_comes_all_or_not_at_all(sessions, key_id) -> None:
    with pytest.raises(OrderFieldError), sessions.begin() as session:
        put(session, ORDER, key_id=key_id, tenant=DEFAULT_TENANT)
        put(session, NewOrder(""), key_id=key_id, tenant=DEFAULT_TENANT)
    assert count(sessions, OrderRow) == 0
    assert actions(sessions) == []
