"""From the real database to a real receiver: delivered at least once, or given up."""

from __future__ import annotations

import time
import uuid

import pytest

from shared.auth.tenants import DEFAULT_TENANT
from shared.db.models import JobRow
from shared.jobs.ending import tell_end
from shared.webhooks.admin import State, list_events
from shared.webhooks.deliver import MAX_ATTEMPTS, take_due
from shared.webhooks.hosts import AllowedHosts
from shared.webhooks.tenant_secrets import secret_of
from tests.integration.webhooks.events import (
    PATIENT,
    RETRY_SECONDS,
    attempt,
    change_job,
    make_due,
    read,
    receiving,
    seconds_left,
)
from tests.receiver import SECRET


def test_an_event_is_delivered_once_signed_and_without_anything_of_a_patient(
    sessions, calling, receiver, end
) -> None:
    event_id = end(receiver.url)
    before = time.time()
    attempt(sessions, calling)
    assert take_due(sessions, calling) is None
    (told,) = receiver.calls
    assert told.path == "/hook?of=hospital"
    assert told.event_id == str(event_id)
    assert told.is_signed()
    assert before - 1 <= int(told.headers["webhook-timestamp"]) <= time.time()
    assert told.headers["content-type"] == "application/json"
    event = read(sessions, event_id)
    assert (event.attempts, event.next_attempt_at, event.last_error) == (1, None, None)
    assert event.delivered_at is not None
    job = f"/v1/jobs/{event.job_id}"
    assert told.document["type"] == "job.succeeded"
    assert told.document["data"] == {
        "job_id": str(event.job_id),
        "status": "succeeded",
        "links": {"self": job, "result": f"{job}/result"},
        "error": None,
    }
    sent = f"{told.path} {told.headers} {told.body.decode()}"
    assert not [value for value in (*PATIENT.values(), "test", "cnn_custom") if value in sent]


def test_webhooks_of_a_tenant_are_signed_with_its_secret(sessions, calling, receiver, end) -> None:
    change_job(sessions, read(sessions, end(receiver.url)).job_id, tenant="north")
    attempt(sessions, calling)
    (told,) = receiver.calls
    assert told.is_signed(secret_of(SECRET, "north"))
    assert not told.is_signed()
    assert not told.is_signed(secret_of(SECRET, "south"))


def test_a_job_without_a_callback_has_no_event(sessions, end) -> None:
    with sessions.begin() as session:
        tell_end(session, JobRow(id=uuid.uuid4(), status="succeeded", callback_url=None), "test")
    assert list_events(sessions, undelivered=False, limit=10, tenant=DEFAULT_TENANT) == []


@pytest.mark.parametrize("status", ["failed", "dead"])
def test_a_failure_is_told_with_its_code(sessions, calling, receiver, end, status: str) -> None:
    end(receiver.url, status, "corrupt_image")
    attempt(sessions, calling)
    (told,) = receiver.calls
    assert told.document["type"] == f"job.{status}"
    assert told.document["data"]["error"] == {"code": "corrupt_image"}
    assert told.document["data"]["links"]["result"] is None


def test_errors_of_the_receiver_are_met_with_growing_delays_and_the_same_event(
    sessions, calling, end
) -> None:
    with receiving(500, 503, 404, 200) as receiver:
        event_id = end(receiver.url)
        errors, delays = [], []
        for _ in range(3):
            attempt(sessions, calling)
            errors.append(read(sessions, event_id).last_error)
            delays.append(seconds_left(sessions, event_id))
            assert take_due(sessions, calling) is None, "it is not due yet"
            make_due(sessions, event_id)
        attempt(sessions, calling)
    assert errors == ["status_500", "status_503", "status_404"]
    for number, delay in enumerate(delays):
        assert 0.5 * RETRY_SECONDS * 2**number < delay <= RETRY_SECONDS * 2**number
    assert {call.event_id for call in receiver.calls} == {str(event_id)}
    assert len({call.body for call in receiver.calls}) == 1
    assert all(call.is_signed() for call in receiver.calls)
    event = read(sessions, event_id)
    assert event.delivered_at is not None
    assert (event.attempts, event.last_error) == (4, None)


def test_no_delay_is_longer_than_an_hour(sessions, calling, end) -> None:
    with receiving(500) as receiver:
        event_id = end(receiver.url)
        make_due(sessions, event_id, attempts=MAX_ATTEMPTS - 2)
        attempt(sessions, calling)
    assert 0.5 * 3600 < seconds_left(sessions, event_id) <= 3600


def test_an_event_is_given_up_after_the_last_attempt(sessions, calling, end) -> None:
    with receiving(500) as receiver:
        event_id = end(receiver.url)
        make_due(sessions, event_id, attempts=MAX_ATTEMPTS - 1)
        attempt(sessions, calling)
    assert len(receiver.calls) == 1
    (event,) = list_events(sessions, undelivered=True, limit=10, tenant=DEFAULT_TENANT)
    assert (event.state, event.attempts) == (State.GIVEN_UP, MAX_ATTEMPTS)
    assert event.last_error == "status_500"
    assert take_due(sessions, calling) is None


def test_no_proxy_of_the_environment_is_used(
    sessions, calling, receiver, end, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    event_id = end(receiver.url)
    attempt(sessions, calling)
    assert read(sessions, event_id).delivered_at is not None


def test_a_list_that_was_tightened_counts_for_events_that_wait(
    sessions, calling, receiver, end
) -> None:
    event_id = end(receiver.url)
    attempt(sessions, calling, AllowedHosts.parse(f"127.0.0.1:{receiver.port + 1}"))
    assert receiver.calls == []
    event = read(sessions, event_id)
    assert (event.next_attempt_at, event.last_error) == (None, "callback_not_allowed")
