"""Webhooks from the real database to real receivers: delivered at least once, or given up."""

from __future__ import annotations

import datetime as dt
import shutil
import socket
import subprocess
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from pydantic import SecretStr
from sqlalchemy import func, select, update

from services.api.app import create_app
from shared.auth.keys import Scope, create_key
from shared.db.models import AuditRow, JobRow, WebhookRow
from shared.db.session import Sessions
from shared.errors import NotFoundError
from shared.jobs.cancel import cancel
from shared.jobs.requeue import requeue
from shared.jobs.sweep import sweep_expired
from shared.local.servers import LocalServers
from shared.settings import Settings
from shared.storage.s3 import S3Store
from shared.webhooks import call, run
from shared.webhooks.admin import State, list_events, resend
from shared.webhooks.deliver import MAX_ATTEMPTS, Delivery, deliver, take_due
from shared.webhooks.events import record_end
from shared.webhooks.hosts import AllowedHosts
from shared.webhooks.run import CALLS_AN_ORIGIN, run_webhooks
from tests.factories import smear_bytes
from tests.integration.posting import post
from tests.receiver import SECRET, Receiver, cut, drip, endless_body, hang, redirect_to

PATIENT = {"accession_number": "ACC-4711", "specimen_id": "SPEC-0815", "patient_ref": "PAT-1234"}
RETRY_SECONDS = 100.0
ALLOWED = AllowedHosts.parse("127.0.0.1")


@pytest.fixture
def calling(settings: Settings) -> Settings:
    """Settings that allow this machine as a receiver, with delays that no test waits for."""
    return settings.model_copy(
        update={
            "webhook_allowed_hosts": "127.0.0.1",
            "webhook_secret": SecretStr(SECRET),
            "webhook_retry_seconds": RETRY_SECONDS,
            "relay_interval_seconds": 0.05,
        }
    )


@contextmanager
def receiving(*answers: object) -> Iterator[Receiver]:
    receiver = Receiver(*answers)
    try:
        yield receiver
    finally:
        receiver.close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


@pytest.fixture
def key_id(sessions: Sessions) -> str:
    return create_key(sessions, "test", [Scope.SUBMIT])[0].id


@pytest.fixture
def end(sessions: Sessions, key_id: str) -> Callable[..., uuid.UUID]:
    """Ends a job whose client wants to be told; gives the id of the event."""

    def ended(url: str, status: str = "succeeded", code: str | None = None) -> uuid.UUID:
        job = JobRow(
            id=uuid.uuid4(),
            api_key_id=key_id,
            request_sha256="0" * 64,
            status=status,
            priority="routine",
            model_name="cnn_custom",
            model_version=1,
            callback_url=url,
            finished_at=dt.datetime.now(dt.UTC),
            error_code=code,
            **PATIENT,
        )
        with sessions.begin() as session:
            session.add(job)
            session.flush()
            record_end(session, job)
        with sessions() as session:
            return session.scalars(select(WebhookRow.id).where(WebhookRow.job_id == job.id)).one()

    return ended


def read(sessions: Sessions, event_id: uuid.UUID) -> WebhookRow:
    with sessions() as session:
        return session.get_one(WebhookRow, event_id)


def seconds_left(sessions: Sessions, event_id: uuid.UUID) -> float:
    left = func.extract("epoch", WebhookRow.next_attempt_at - func.clock_timestamp())
    with sessions() as session:
        return float(session.scalars(select(left).where(WebhookRow.id == event_id)).one())


def change(sessions: Sessions, event_id: uuid.UUID, **values: object) -> None:
    with sessions.begin() as session:
        session.execute(update(WebhookRow).where(WebhookRow.id == event_id).values(**values))


def change_job(sessions: Sessions, job_id: uuid.UUID, **values: object) -> None:
    with sessions.begin() as session:
        session.execute(update(JobRow).where(JobRow.id == job_id).values(**values))


def make_due(sessions: Sessions, event_id: uuid.UUID, **values: object) -> None:
    change(sessions, event_id, next_attempt_at=func.clock_timestamp(), **values)


def attempt(sessions: Sessions, settings: Settings, allowed: AllowedHosts = ALLOWED) -> Delivery:
    delivery = take_due(sessions, settings)
    assert delivery is not None
    deliver(sessions, settings, allowed, delivery)
    return delivery


@contextmanager
def delivering(settings: Settings, sessions: Sessions) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=run_webhooks, args=(settings, sessions, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)
        assert not thread.is_alive()


def eventually(holds: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


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


def test_a_job_without_a_callback_has_no_event(sessions, end) -> None:
    with sessions.begin() as session:
        record_end(session, JobRow(id=uuid.uuid4(), status="succeeded", callback_url=None))
    assert list_events(sessions, undelivered=False, limit=10) == []


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
    (event,) = list_events(sessions, undelivered=True, limit=10)
    assert (event.state, event.attempts) == (State.GIVEN_UP, MAX_ATTEMPTS)
    assert event.last_error == "status_500"
    assert take_due(sessions, calling) is None


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(sessions, calling, receiver, end, status: int) -> None:
    with receiving(redirect_to(receiver.url, status)) as redirecting:
        event_id = end(redirecting.url)
        attempt(sessions, calling)
    assert receiver.calls == []
    assert len(redirecting.calls) == 1
    assert read(sessions, event_id).last_error == f"status_{status}"
    assert read(sessions, event_id).next_attempt_at is not None


def test_a_receiver_that_is_gone_for_good_is_not_called_again(sessions, calling, end) -> None:
    with receiving(410) as receiver:
        event_id = end(receiver.url)
        attempt(sessions, calling)
    event = read(sessions, event_id)
    assert (event.next_attempt_at, event.delivered_at) == (None, None)
    assert (event.attempts, event.last_error) == (1, "status_410")


def test_a_receiver_that_is_down_is_tried_again(sessions, calling, end) -> None:
    with receiving() as receiver:
        event_id = end(receiver.url)
    attempt(sessions, calling)
    event = read(sessions, event_id)
    assert event.last_error == "connect_error"
    assert event.next_attempt_at is not None


@pytest.mark.parametrize(
    ("answer", "errors"),
    [
        (hang, {"read_timeout", "call_timeout"}),
        (drip, {"call_timeout"}),
        (cut, {"remote_protocol_error", "read_error"}),
    ],
)
def test_a_receiver_that_hangs_or_drips_or_cuts_holds_nobody(
    sessions, calling, end, answer: object, errors: set[str]
) -> None:
    short = calling.model_copy(
        update={"connect_timeout_seconds": 1.0, "answer_timeout_seconds": 1.0}
    )
    with receiving(answer) as receiver:
        event_id = end(receiver.url)
        attempt(sessions, short)
        assert not receiver.released.is_set(), "the call ended while the receiver held on"
    event = read(sessions, event_id)
    assert event.last_error in errors
    assert event.next_attempt_at is not None


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_server_that_only_takes_connections_holds_nobody(
    sessions, calling, end, scheme: str
) -> None:
    short = calling.model_copy(
        update={"connect_timeout_seconds": 1.0, "answer_timeout_seconds": 1.0}
    )
    with socket.create_server(("127.0.0.1", 0)) as silent:
        event_id = end(f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/")
        attempt(sessions, short)
    assert read(sessions, event_id).last_error in {
        "connect_timeout",
        "read_timeout",
        "call_timeout",
    }


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_a_certificate_counts_only_if_it_is_trusted(
    sessions, calling, end, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    make = "req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -subj /CN=receiver"
    names = "subjectAltName=IP:127.0.0.1"
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", *make.split(), "-addext", names, *files], check=True)
    receiver = Receiver(certificate=(certificate, key))
    try:
        event_id = end(receiver.url)
        for trusted, last_error in ((tmp_path / "none.pem", "connect_error"), (certificate, None)):
            monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
            call._tls.cache_clear()
            attempt(sessions, calling)
            event = read(sessions, event_id)
            assert (event.last_error, len(receiver.calls)) == (last_error, event.attempts - 1)
            make_due(sessions, event_id, delivered_at=None)
    finally:
        receiver.close()
        call._tls.cache_clear()


def test_the_body_of_an_answer_is_not_read(sessions, calling, end) -> None:
    with receiving(endless_body) as receiver:
        event_id = end(receiver.url)
        attempt(sessions, calling)
    assert read(sessions, event_id).delivered_at is not None


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
    requeue(sessions, job_id, expire_after_seconds=60)
    attempt(sessions, calling)
    assert receiver.calls == []
    event = read(sessions, event_id)
    assert (event.next_attempt_at, event.last_error) == (None, "superseded")
    cancel(sessions, job_id, actor="key:x")
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
        requeue(sessions, job_id, expire_after_seconds=60)
        change_job(sessions, job_id, expires_at=func.clock_timestamp())
        assert sweep_expired(sessions) == 1
        deliver(sessions, calling, ALLOWED, slow)
        assert read(sessions, first).last_error == "superseded"
        attempt(sessions, calling)
        assert take_due(sessions, calling) is None
    codes = [call.document["data"]["error"]["code"] for call in receiver.calls]
    assert codes == ["attempt_hung", "expired"]
    assert len({call.event_id for call in receiver.calls}) == 2


def test_several_relays_at_once_deliver_each_event_once(sessions, calling, receiver, end) -> None:
    ids = {str(end(receiver.url)) for _ in range(40)}
    with (
        delivering(calling, sessions),
        delivering(calling, sessions),
        delivering(calling, sessions),
    ):
        eventually(lambda: not list_events(sessions, undelivered=True, limit=1))
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
    sessions, calling, end, servers: LocalServers, caplog
) -> None:
    with receiving() as receiver, delivering(calling, sessions):
        first = end(receiver.url)
        eventually(lambda: read(sessions, first).delivered_at)
        servers.processes["postgres"].kill()
        try:
            eventually(lambda: "webhooks wait for the database" in caplog.text)
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
            resend(sessions, event_id)
            (event,) = list_events(sessions, undelivered=True, limit=10)
            assert (event.state, event.attempts, event.last_error) == (State.DUE, 0, None)
            attempt(sessions, calling)
            (event,) = list_events(sessions, undelivered=False, limit=10)
            assert event.state == State.DELIVERED
            assert list_events(sessions, undelivered=True, limit=10) == []
    assert len({call.event_id for call in receiver.calls}) == 1
    with sessions() as session:
        resent = session.scalars(select(AuditRow).where(AuditRow.action == "webhook.resent")).all()
    assert [row.details for row in resent] == [{"event_id": str(event_id)}] * 2
    assert {row.job_id for row in resent} == {event.job_id}
    with pytest.raises(NotFoundError):
        resend(sessions, uuid.uuid4())


@pytest.fixture
def client(calling: Settings, sessions: Sessions, storage: S3Store) -> FlaskClient:
    app = create_app(calling)
    _, key = create_key(sessions, "test", list(Scope))
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
    return client


def test_a_job_that_is_posted_with_a_callback_tells_its_end(
    client, sessions, calling, receiver
) -> None:
    accepted = post(client, smear_bytes(), callback_url=receiver.url, **PATIENT)
    assert accepted.status_code == 202, accepted.json
    assert take_due(sessions, calling) is None, "nothing has ended"
    job = accepted.json["links"]["self"]
    assert client.delete(job).status_code == 200
    attempt(sessions, calling)
    (told,) = receiver.calls
    assert told.is_signed()
    assert told.document["type"] == "job.cancelled"
    assert told.document["data"]["links"]["self"] == job


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://169.254.169.254/", "callback_not_allowed"),
        ("http://127.0.0.1@evil/", "callback_not_allowed"),
        ("http://127.1/", "callback_not_allowed"),
        ("nonsense", "callback_not_allowed"),
        ("", "validation_failed"),
        ("http://127.0.0.1/" + "a" * 2048, "validation_failed"),
    ],
)
def test_a_callback_that_is_not_allowed_is_refused(client, url: str, code: str) -> None:
    answer = post(client, smear_bytes(), callback_url=url)
    assert (answer.status_code, answer.json["code"]) == (422, code)
    assert answer.json["detail"]
    assert client.get("/v1/jobs").json["jobs"] == []


def test_another_callback_is_another_request(client) -> None:
    headers = {"Idempotency-Key": "order-1"}
    urls = ("http://127.0.0.1/a", "http://127.0.0.1/a", "http://127.0.0.1/b")
    answers = [post(client, smear_bytes(), headers=headers, callback_url=url) for url in urls]
    assert [answer.status_code for answer in answers] == [202, 200, 409]
