"""Results go to the LIS: nothing is lost, at most repeated as the same."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import partial

import pytest
from sqlalchemy import select

from shared.auth.tenants import DEFAULT_TENANT
from shared.db.models import WebhookRow
from shared.db.session import Sessions
from shared.interop.hl7.oru import control_id_of
from shared.local.servers import LocalServers
from shared.storage.s3 import S3Store
from shared.webhooks.admin import list_events, resend
from shared.webhooks.deliver import MAX_ATTEMPTS, take_due
from tests import mllp_receiver
from tests.integration import pushes
from tests.integration.jobs import post
from tests.integration.pushes import Succeed, attempt, end, with_destinations
from tests.integration.webhooks.events import PATIENT, make_due, seconds_left
from tests.mllp_receiver import MllpReceiver, acking
from tests.waiting import eventually

RELAY = """
import threading
from shared.db.session import create_database, create_sessions
from shared.interop.push import Pushes
from shared.settings import Settings
from shared.webhooks.run import run_webhooks
settings = Settings()
sessions = create_sessions(create_database(settings, pool_size=5))
run_webhooks(settings, sessions, threading.Event(), Pushes(settings, sessions))
"""


@pytest.fixture
def succeed(sessions: Sessions, storage: S3Store, key_id: str) -> Succeed:
    return partial(pushes.succeed, sessions, storage, key_id)


@pytest.fixture
def lis() -> Iterator[MllpReceiver]:
    receiver = MllpReceiver()
    yield receiver
    receiver.close()


def urls_of(sessions: Sessions) -> set[str]:
    with sessions() as session:
        return set(session.scalars(select(WebhookRow.url)))


def test_a_success_has_a_row_for_each_destination_that_takes_it(sessions, succeed) -> None:
    lis_a, lis_b = "mllp://lis:2575", "MLLPS://lis:2576"
    pictures = "dicom://PACS@pacs:104", "stow+https://pacs/dicom-web"
    succeed(lis_a, lis_b, *pictures)
    assert urls_of(sessions) == {lis_a, lis_b}, "a report needs a study"
    succeed(lis_a, lis_b, *pictures, is_dicom=True)
    assert urls_of(sessions) == {lis_a, lis_b, *pictures}


def test_nothing_else_than_a_success_is_pushed(sessions, storage, key_id) -> None:
    job = post(sessions, storage, key_id).job
    end(sessions, job.id, ("mllp://lis:2575",))
    assert urls_of(sessions) == set()


def test_a_result_reaches_the_lis_once(sessions, settings, succeed, lis) -> None:
    succeed(lis.url)
    event = attempt(sessions, settings, lis.url)
    assert event.delivered_at is not None
    assert (event.attempts, event.last_error) == (1, None)
    assert take_due(sessions, with_destinations(settings, lis.url)) is None
    (message,) = lis.messages
    assert mllp_receiver.control_id_of(message) == control_id_of(event.id)
    assert "ORU^R01" in message
    assert PATIENT["accession_number"] in message


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("AE", "ack_ae"),
        (acking("AE", "ERR||PID|207|E||||Patient PAT-1234 is unknown"), "ack_ae_207"),
        (acking("AR", "ERR||PID|207|E"), "ack_ar_207"),
        (acking("CA"), "ack_unknown"),
        (acking("AA", control_id="PAT-1234"), "ack_of_another"),
        (mllp_receiver.cut, "connection_cut"),
        (mllp_receiver.half_an_ack, "connection_cut"),
        (mllp_receiver.endless, "ack_too_large"),
        (mllp_receiver.hang, "answer_timeout"),
    ],
)
def test_what_the_lis_did_not_take_comes_again_as_the_same(
    sessions, settings, succeed, *, answer: object, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    lis = MllpReceiver(answer)
    try:
        succeed(lis.url)
        event = attempt(sessions, settings, lis.url)
        assert (event.delivered_at, event.last_error) == (None, code)
        assert 50 < seconds_left(sessions, event.id) <= 100
        make_due(sessions, event.id)
        assert attempt(sessions, settings, lis.url).delivered_at is not None
        first, second = lis.messages
        assert first == second
    finally:
        lis.close()
    told_of = caplog.text + str([vars(record) for record in caplog.records])
    assert not [value for value in PATIENT.values() if value in told_of]


def test_what_the_lis_rejects_is_dead_until_an_operator_sends_it_again(
    sessions, settings, succeed, lis
) -> None:
    lis.answers.append(acking("AR", "ERR||PID|203|E||||Patient PAT-1234 is unknown"))
    succeed(lis.url)
    event = attempt(sessions, settings, lis.url)
    assert (event.next_attempt_at, event.last_error) == (None, "ack_ar_203")
    (shown,) = list_events(sessions, undelivered=True, limit=10, tenant=DEFAULT_TENANT)
    assert (shown.state, shown.to) == ("given_up", lis.url)
    resend(sessions, event.id, tenant=DEFAULT_TENANT)
    assert attempt(sessions, settings, lis.url).delivered_at is not None
    assert len(set(lis.messages)) == 1


def test_a_lis_that_is_down_is_tried_until_the_last_attempt(
    sessions, settings, succeed, lis
) -> None:
    url = lis.url
    lis.close()
    succeed(url)
    event = attempt(sessions, settings, url)
    assert event.last_error == "connect_error"
    make_due(sessions, event.id, attempts=MAX_ATTEMPTS - 1)
    event = attempt(sessions, settings, url)
    assert (event.attempts, event.next_attempt_at) == (MAX_ATTEMPTS, None)


def test_only_what_is_on_the_list_is_called(sessions, settings, succeed, lis) -> None:
    succeed(lis.url)
    event = attempt(sessions, settings, f"mllp://localhost:{lis.port}")
    assert (event.next_attempt_at, event.last_error) == (None, "destination_removed")
    assert lis.messages == []


def test_a_relay_that_is_killed_before_the_acknowledgement_sends_the_same_again(
    sessions, settings, succeed, lis, servers: LocalServers
) -> None:
    lis.answers.append(mllp_receiver.hang)
    succeed(lis.url)
    environment = {
        **servers.environment(),
        "HEMOTRIAGE_RESULT_DESTINATIONS": lis.url,
        "HEMOTRIAGE_ANSWER_TIMEOUT_SECONDS": "60",
    }
    relay = subprocess.Popen([sys.executable, "-c", RELAY], env=environment)
    try:
        eventually(lambda: len(lis.messages) == 1)
    finally:
        relay.kill()
        relay.wait()
    (waiting,) = list_events(sessions, undelivered=True, limit=10, tenant=DEFAULT_TENANT)
    assert (waiting.state, waiting.last_error) == ("due", "interrupted")
    make_due(sessions, waiting.id)
    assert attempt(sessions, settings, lis.url).delivered_at is not None
    first, second = lis.messages
    assert first == second
