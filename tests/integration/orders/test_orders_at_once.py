"""Of those who change one order at once, one wins, and the others are told."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from sqlalchemy import select, text

from shared.auth.tenants import DEFAULT_TENANT
from shared.db.models import OrderRow
from shared.db.session import Sessions
from shared.orders.claim import claim
from shared.orders.place import place, put, take_back
from shared.orders.queries import get_order
from shared.orders.states import (
    OrderClosedError,
    OrderState,
)
from tests.integration.orders.placing import ORDER, TRANSACTION, actions, placed
from tests.waiting import eventually


def waits_for_a_lock(sessions: Sessions) -> bool:
    with sessions() as session:
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        return session.scalar(text(waiting)) > 0


def test_of_two_that_place_an_order_at_once_one_creates_it(sessions, key_id) -> None:
    other = replace(ORDER, specimen_id="S-2")
    with ThreadPoolExecutor() as pool, sessions() as session:
        first, created = put(session, ORDER, key_id=key_id, tenant=DEFAULT_TENANT)
        second = pool.submit(place, sessions, other, tenant=DEFAULT_TENANT, key_id=key_id)
        eventually(lambda: waits_for_a_lock(sessions))
        session.commit()
        order, created_too = second.result(timeout=10)
    assert (created, created_too) == (True, False)
    assert (order.id, order.specimen_id) == (first, "S-2")
    assert actions(sessions) == ["order.placed", "order.changed"]


def test_of_a_cancel_and_a_claim_at_once_the_first_counts(sessions, key_id) -> None:
    order = placed(sessions, key_id)
    with ThreadPoolExecutor() as pool, sessions() as session:
        take_back(session, order.id, key_id=key_id, tenant=DEFAULT_TENANT)
        second = pool.submit(
            claim, sessions, order.id, TRANSACTION, tenant=DEFAULT_TENANT, key_id=key_id
        )
        eventually(lambda: waits_for_a_lock(sessions))
        session.commit()
        assert isinstance(second.exception(timeout=10), OrderClosedError)
    assert get_order(sessions, order.id, tenant=DEFAULT_TENANT).state is OrderState.CANCELLED


def test_many_who_place_and_claim_leave_one_order_with_one_performer(sessions, key_id) -> None:
    with ThreadPoolExecutor(8) as pool:
        orders = list(
            pool.map(
                lambda _: place(sessions, ORDER, key_id=key_id, tenant=DEFAULT_TENANT), range(8)
            )
        )
        assert [created for _, created in orders].count(True) == 1
        order = orders[0][0]
        claims = [
            pool.submit(
                claim, sessions, order.id, f"2.25.{number}", tenant=DEFAULT_TENANT, key_id=key_id
            )
            for number in range(8)
        ]
        won = [number for number, one in enumerate(claims) if one.exception() is None]
    assert len(won) == 1
    with sessions() as session:
        assert session.scalar(select(OrderRow.transaction_uid)) == f"2.25.{won[0]}"
