"""Relays side by side, what holds one up, and an operator who sends again."""

from __future__ import annotations

import uuid
from collections import Counter

import pytest
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from shared.auth.tenants import DEFAULT_TENANT
from shared.db.models import AuditRow
from shared.errors import NotFoundError
from shared.local.servers import LocalServers
from shared.webhooks import run
from shared.webhooks.admin import State, list_events, resend
from shared.webhooks.deliver import Delivery, take_due
from shared.webhooks.run import CALLS_AN_ORIGIN
from tests.integration.webhooks.events import attempt, delivering, read, receiving
from tests.receiver import hang
from tests.waiting import eventually


def test_several_relays_at_once_deliver_each_event_once(sessions, calling, receiver, end) -> None:
    ids = {str(end(receiver.url)) for _ in range(40)}
    with (
        delivering(calling, sessions),
        delivering(calling, sessions),
        delivering(calling, sessions),
    ):
        eventually(
            lambda: not list_events(sessions, undelivered=True, limit=1, tenant=DEFAULT_TENANT)
        )
    assert Counter(call.event_id for call in receiver.calls) == Counter(ids)


def test_a_receiver_that_hangs_holds_up_no_other(sessions, calling, receiver, end) -> None:
    slow = calling.model_copy(update={"answer_timeout_seconds": 60.0})
    with receiving(*[hang] * 6) as hanging:
        for _ in range(6):
            end(hanging.url)
        ids = {str(end(receiver.url)) for _ in range(6)}
        try:
            with delivering(slow, sessions):
                eventually(lambda: {call.event_id for call in receiver.calls} == ids)
                assert not hanging.released.is_set()
                assert hanging.most_at_once <= CALLS_AN_ORIGIN
                hanging.released.set()
        finally:
            hanging.released.set()


def test_the_loop_survives_what_nobody_foresaw(
    sessions, calling, end, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    faults = [RuntimeError("can't start new thread"), ValueError("a bug")]

    def failing(*arguments: object, **options: object) -> Delivery | None:
        if faults:
            raise faults.pop()
        return take_due(*arguments, **options)

    monkeypatch.setattr(run, "take_due", failing)
    with receiving() as receiver, delivering(calling, sessions):
        event_id = end(receiver.url)
        eventually(lambda: read(sessions, event_id).delivered_at)
    assert faults == []
    assert caplog.text.count("a webhook met an unexpected error") == 2


def test_a_database_that_is_killed_is_waited_for(
    sessions, calling, end, servers: LocalServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    met: list[SQLAlchemyError] = []

    def watched(*arguments: object, **options: object) -> Delivery | None:
        try:
            return take_due(*arguments, **options)
        except SQLAlchemyError as error:
            met.append(error)
            raise

    monkeypatch.setattr(run, "take_due", watched)
    with receiving() as receiver, delivering(calling, sessions):
        first = end(receiver.url)
        eventually(lambda: read(sessions, first).delivered_at)
        servers.processes["postgres"].kill()
        try:
            eventually(lambda: len(met) > 1)
        finally:
            servers.ensure_alive()
        second = end(receiver.url)
        eventually(lambda: read(sessions, second).delivered_at)
    assert [call.event_id for call in receiver.calls] == [str(first), str(second)]


def test_an_operator_sends_an_event_again(sessions, calling, end) -> None:
    with receiving(410, 200, 200) as receiver:
        event_id = end(receiver.url)
        attempt(sessions, calling)
        for _ in range(2):  # after it was given up, and after it was delivered
            resend(sessions, event_id, tenant=DEFAULT_TENANT)
            (event,) = list_events(sessions, undelivered=True, limit=10, tenant=DEFAULT_TENANT)
            assert (event.state, event.attempts, event.last_error) == (State.DUE, 0, None)
            attempt(sessions, calling)
            (event,) = list_events(sessions, undelivered=False, limit=10, tenant=DEFAULT_TENANT)
            assert event.state == State.DELIVERED
            assert list_events(sessions, undelivered=True, limit=10, tenant=DEFAULT_TENANT) == []
    assert len({call.event_id for call in receiver.calls}) == 1
    with sessions() as session:
        resent = session.scalars(select(AuditRow).where(AuditRow.action == "webhook.resent")).all()
    assert [row.details for row in resent] == [{"event_id": str(event_id)}] * 2
    assert {row.job_id for row in resent} == {event.job_id}
    with pytest.raises(NotFoundError):
        resend(sessions, uuid.uuid4(), tenant=DEFAULT_TENANT)
