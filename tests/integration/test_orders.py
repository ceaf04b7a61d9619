"""Orders are placed, changed, taken back, claimed and ended, one at a time."""

from __future__ import annotations

import datetime as dt
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace

import pytest
from sqlalchemy import select, text

from shared.audit.queries import AuditFilter, list_events
from shared.auth.keys import Scope, create_key
from shared.auth.tenants import DEFAULT_TENANT
from shared.db.models import OrderRow
from shared.db.session import Sessions
from shared.errors import NotFoundError
from shared.jobs.cancel import cancel
from shared.jobs.states import Priority, Status
from shared.orders.claim import claim, finish
from shared.orders.entities import NewOrder, Order
from shared.orders.place import cancel_order, place, put, take_back
from shared.orders.queries import OrderFilter, find_order, get_order, list_orders
from shared.orders.states import (
    OrderClosedError,
    OrderExistsError,
    OrderFieldError,
    OrderState,
    WrongTransactionError,
)
from tests.integration.jobs import count, post
from tests.waiting import eventually

NOON = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
ORDER = NewOrder(
    "A-1",
    priority=Priority.STAT,
    specimen_id="S-1",
    patient_ref="pn-1",
    study_uid="1.2.3",
    procedure_code="BSM",
    procedure_system="99LAB",
    placer="LIS|LAB",
    placer_number="P-1",
    filler_number="F-1",
    scheduled_at=NOON,
)
TRANSACTION = "2.25.1"


def actions(sessions: Sessions) -> list[str]:
    """What the audit trail says of orders, oldest first."""
    events = list_events(sessions, AuditFilter(), limit=100).events
    return [event.action for event in reversed(events) if event.action.startswith("order.")]


def details(sessions: Sessions, action: str) -> dict[str, object]:
    return list_events(sessions, AuditFilter(action=action), limit=1).events[0].details


def said(order: Order) -> NewOrder:
    """What an order says, without what became of it."""
    return NewOrder(**{field.name: getattr(order, field.name) for field in fields(NewOrder)})


def placed(sessions: Sessions, key_id: str, **changes: object) -> Order:
    return place(sessions, replace(ORDER, **changes), key_id=key_id, tenant=DEFAULT_TENANT)[0]


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


def test_a_claimed_order_is_out_of_the_hands_of_its_placer(sessions, key_id) -> None:
    order = placed(sessions, key_id)
    performer = create_key(sessions, "bench", [Scope.SUBMIT])[0].id
    held = claim(sessions, order.id, TRANSACTION, key_id=performer, tenant=DEFAULT_TENANT)
    assert (held.state, held.performer) == (OrderState.CLAIMED, performer)
    for call in (
        lambda: placed(sessions, key_id, specimen_id="S-2"),
        lambda: cancel_order(sessions, order.id, key_id=key_id, tenant=DEFAULT_TENANT),
        lambda: claim(sessions, order.id, "2.25.2", key_id=key_id, tenant=DEFAULT_TENANT),
    ):
        with pytest.raises(OrderClosedError):
            call()
    assert get_order(sessions, order.id, tenant=DEFAULT_TENANT) == held


def test_what_is_repeated_after_a_claim_is_no_change(sessions, key_id) -> None:
    order = placed(sessions, key_id)
    held = claim(sessions, order.id, TRANSACTION, key_id=key_id, tenant=DEFAULT_TENANT)
    assert place(sessions, ORDER, key_id=key_id, tenant=DEFAULT_TENANT) == (held, False)
    done = finish(
        sessions, order.id, TRANSACTION, OrderState.COMPLETED, key_id=key_id, tenant=DEFAULT_TENANT
    )
    assert place(sessions, ORDER, key_id=key_id, tenant=DEFAULT_TENANT) == (done, False)


@pytest.mark.parametrize("end", [OrderState.COMPLETED, OrderState.CANCELLED])
def test_who_knows_the_transaction_ends_the_order(sessions, key_id, end: OrderState) -> None:
    order = placed(sessions, key_id)
    claim(sessions, order.id, TRANSACTION, key_id=key_id, tenant=DEFAULT_TENANT)
    with pytest.raises(WrongTransactionError):
        finish(sessions, order.id, "2.25.2", end, key_id=key_id, tenant=DEFAULT_TENANT)
    for _ in range(2):
        assert (
            finish(sessions, order.id, TRANSACTION, end, key_id=key_id, tenant=DEFAULT_TENANT).state
            is end
        )
    assert actions(sessions) == ["order.placed", "order.claimed", f"order.{end}"]
    (other,) = {OrderState.COMPLETED, OrderState.CANCELLED} - {end}
    with pytest.raises(OrderClosedError):
        finish(sessions, order.id, TRANSACTION, other, key_id=key_id, tenant=DEFAULT_TENANT)


def test_an_order_that_nobody_claimed_cannot_be_ended(sessions, key_id) -> None:
    order = placed(sessions, key_id)
    with pytest.raises(OrderClosedError):
        finish(
            sessions,
            order.id,
            TRANSACTION,
            OrderState.COMPLETED,
            key_id=key_id,
            tenant=DEFAULT_TENANT,
        )
    with pytest.raises(ValueError, match="expected"):
        finish(
            sessions,
            order.id,
            TRANSACTION,
            OrderState.EXPECTED,
            key_id=key_id,
            tenant=DEFAULT_TENANT,
        )


def test_of_who_gave_an_order_up_nothing_stays_once_it_is_placed_again(sessions, key_id) -> None:
    order = placed(sessions, key_id)
    claim(sessions, order.id, TRANSACTION, key_id=key_id, tenant=DEFAULT_TENANT)
    finish(
        sessions, order.id, TRANSACTION, OrderState.CANCELLED, key_id=key_id, tenant=DEFAULT_TENANT
    )
    assert placed(sessions, key_id).performer is None
    with pytest.raises(OrderClosedError):
        finish(
            sessions,
            order.id,
            TRANSACTION,
            OrderState.COMPLETED,
            key_id=key_id,
            tenant=DEFAULT_TENANT,
        )


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
        claim(sessions, order.id, TRANSACTION, key_id=key_id, tenant=DEFAULT_TENANT)
    cancel(sessions, job.id, actor="test", tenant=DEFAULT_TENANT)
    assert (
        claim(sessions, order.id, TRANSACTION, key_id=key_id, tenant=DEFAULT_TENANT).state
        is OrderState.CLAIMED
    )


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


def test_what_one_transaction_places_comes_all_or_not_at_all(sessions, key_id) -> None:
    with pytest.raises(OrderFieldError), sessions.begin() as session:
        put(session, ORDER, key_id=key_id, tenant=DEFAULT_TENANT)
        put(session, NewOrder(""), key_id=key_id, tenant=DEFAULT_TENANT)
    assert count(sessions, OrderRow) == 0
    assert actions(sessions) == []
