"""Crashes, late answers and clocks set back: no event is lost, no undone end is told."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import func

from shared.auth.tenants import DEFAULT_TENANT
from shared.jobs.cancel import cancel
from shared.jobs.requeue import requeue
from shared.jobs.sweep import sweep_expired
from shared.webhooks.deliver import MAX_ATTEMPTS, deliver, take_due
from tests.integration.webhooks.events import (
    ALLOWED,
    attempt,
    change,
    change_job,
    make_due,
    read,
    receiving,
    seconds_left,
)


def test_a_crash_in_the_middle_of_a_call_means_a_later_attempt(
    sessions, calling, receiver, end
) -> None:
    event_id = end(receiver.url)
    assert take_due(sessions, calling) is not None, "and the relay dies"
    event = read(sessions, event_id)
    assert (event.attempts, event.last_error) == (1, "interrupted")
    assert take_due(sessions, calling) is None, "the call may still be under way"
    assert seconds_left(sessions, event_id) > 0
    make_due(sessions, event_id)
    assert attempt(sessions, calling).attempt == 2
    assert read(sessions, event_id).delivered_at is not None


def test_an_event_that_crashes_the_relay_each_time_is_given_up(
    sessions, calling, receiver, end
) -> None:
    event_id = end(receiver.url)
    make_due(sessions, event_id, attempts=MAX_ATTEMPTS, last_error="interrupted")
    attempt(sessions, calling)
    assert receiver.calls == []
    event = read(sessions, event_id)
    assert (event.next_attempt_at, event.last_error) == (None, "interrupted")


def test_a_late_failure_does_not_undo_a_delivery(sessions, calling, end) -> None:
    with receiving(200, 500) as receiver:
        event_id = end(receiver.url)
        slow = take_due(sessions, calling)
        make_due(sessions, event_id)
        attempt(sessions, calling)
        assert slow is not None
        deliver(sessions, calling, ALLOWED, slow)
    assert len(receiver.calls) == 2
    assert read(sessions, event_id).delivered_at is not None
    assert read(sessions, event_id).next_attempt_at is None


def test_a_time_from_before_the_clock_was_set_back_is_due(sessions, calling, receiver, end) -> None:
    event_id = end(receiver.url)
    now = func.clock_timestamp()
    change(sessions, event_id, next_attempt_at=now + dt.timedelta(minutes=59))
    assert take_due(sessions, calling) is None
    change(sessions, event_id, next_attempt_at=now + dt.timedelta(hours=3))
    attempt(sessions, calling)
    assert read(sessions, event_id).delivered_at is not None


def test_an_end_that_an_operator_undid_is_not_told(sessions, calling, receiver, end) -> None:
    event_id = end(receiver.url, "dead", "attempt_crashed")
    job_id = read(sessions, event_id).job_id
    requeue(sessions, job_id, expire_after_seconds=60, tenant=DEFAULT_TENANT)
    attempt(sessions, calling)
    assert receiver.calls == []
    event = read(sessions, event_id)
    assert (event.next_attempt_at, event.last_error) == (None, "superseded")
    cancel(sessions, job_id, actor="key:x", tenant=DEFAULT_TENANT)
    attempt(sessions, calling)
    assert [call.document["type"] for call in receiver.calls] == ["job.cancelled"]


def test_of_two_ends_of_a_job_the_last_is_told_even_if_a_call_of_the_first_is_under_way(
    sessions, calling, end
) -> None:
    with receiving(500) as receiver:
        first = end(receiver.url, "dead", "attempt_hung")
        job_id = read(sessions, first).job_id
        slow = take_due(sessions, calling)
        assert slow is not None
        requeue(sessions, job_id, expire_after_seconds=60, tenant=DEFAULT_TENANT)
        change_job(sessions, job_id, expires_at=func.clock_timestamp())
        assert sweep_expired(sessions) == 1
        deliver(sessions, calling, ALLOWED, slow)
        assert read(sessions, first).last_error == "superseded"
        attempt(sessions, calling)
        assert take_due(sessions, calling) is None
    codes = [call.document["data"]["error"]["code"] for call in receiver.calls]
    assert codes == ["attempt_hung", "expired"]
    assert len({call.event_id for call in receiver.calls}) == 2
