"""Orders are listed by pages and by filters."""

from __future__ import annotations

import datetime as dt

import pytest

from shared.auth.tenants import DEFAULT_TENANT
from shared.jobs.states import Priority
from shared.orders.entities import NewOrder
from shared.orders.place import cancel_order, place
from shared.orders.queries import OrderFilter, list_orders
from shared.orders.states import (
    OrderState,
)
from tests.integration.orders.placing import NOON, placed


def test_orders_are_listed_newest_first_in_pages(sessions, key_id) -> None:
    numbers = [f"A-{number}" for number in range(5)]
    for number in numbers:
        placed(sessions, key_id, accession_number=number)
    seen: list[str] = []
    cursor = None
    while True:
        page = list_orders(sessions, OrderFilter(), limit=2, cursor=cursor, tenant=DEFAULT_TENANT)
        seen += [order.accession_number for order in page.orders]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == numbers[::-1]


def test_a_cursor_from_before_all_orders_or_after_them_is_an_end_or_a_beginning(
    sessions, key_id
) -> None:
    placed(sessions, key_id)
    zeros = "0" * 32
    assert (
        list_orders(
            sessions, OrderFilter(), limit=2, cursor=f"0-{zeros}", tenant=DEFAULT_TENANT
        ).orders
        == ()
    )
    latest = f"{'9' * 17}-{zeros}"
    assert (
        len(
            list_orders(
                sessions, OrderFilter(), limit=2, cursor=latest, tenant=DEFAULT_TENANT
            ).orders
        )
        == 1
    )


@pytest.mark.parametrize(
    "criteria",
    [
        {"state": OrderState.CANCELLED},
        {"accession_number": "A-1"},
        {"patient_ref": "pn-1"},
        {"specimen_id": "S-1"},
        {"priority": Priority.STAT},
        {"scheduled_from": NOON, "scheduled_to": NOON + dt.timedelta(seconds=1)},
    ],
)
def test_each_filter_leaves_the_orders_that_fit(sessions, key_id, criteria) -> None:
    order = placed(sessions, key_id)
    cancel_order(sessions, order.id, key_id=key_id, tenant=DEFAULT_TENANT)
    for number, at in (("A-2", NOON + dt.timedelta(hours=1)), ("A-3", NOON - dt.timedelta(1))):
        place(sessions, NewOrder(number, scheduled_at=at), key_id=key_id, tenant=DEFAULT_TENANT)
    place(sessions, NewOrder("A-4"), key_id=key_id, tenant=DEFAULT_TENANT)
    page = list_orders(sessions, OrderFilter(**criteria), limit=9, tenant=DEFAULT_TENANT)
    assert [one.accession_number for one in page.orders] == ["A-1"]
