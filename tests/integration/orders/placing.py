"""Orders for the tests, and what is looked at afterwards."""

from __future__ import annotations

import datetime as dt
from dataclasses import fields, replace

from shared.audit.queries import AuditFilter, list_events
from shared.auth.tenants import DEFAULT_TENANT
from shared.db.session import Sessions
from shared.jobs.states import Priority
from shared.orders.claim import claim, finish
from shared.orders.entities import NewOrder, Order
from shared.orders.place import place
from shared.orders.states import OrderState

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


def claimed(sessions: Sessions, key_id: str, order: Order, transaction: str = TRANSACTION) -> Order:
    return claim(sessions, order.id, transaction, key_id=key_id, tenant=DEFAULT_TENANT)


def ended(
    sessions: Sessions,
    key_id: str,
    order: Order,
    end: OrderState = OrderState.COMPLETED,
    transaction: str = TRANSACTION,
) -> Order:
    return finish(sessions, order.id, transaction, end, key_id=key_id, tenant=DEFAULT_TENANT)
