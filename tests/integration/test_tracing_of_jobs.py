"""One request is one trace, and one request id, from its intake to the call back."""

from __future__ import annotations

import io
import uuid

import pytest

from services.api.app import create_app
from shared.auth.tenants import DEFAULT_TENANT
from shared.db.models import OutboxRow
from shared.jobs.outbox import Outbox, send_due
from shared.jobs.queries import get_job
from shared.jobs.sweep import sweep_expired
from shared.storage import image_key
from shared.telemetry.about import about
from shared.telemetry.tracing import span
from shared.webhooks.deliver import deliver, take_due
from tests.canaries import ACCESSION, PATIENT_REF
from tests.collector import collecting, tracing_to
from tests.factories import smear_bytes
from tests.integration.jobs import Recorder, count, make_due, post
from tests.integration.posting import authorised
from tests.integration.webhooks.events import ALLOWED
from tests.receiver import SECRET, Receiver
from tests.waiting import eventually

TRACE = "0af7651916cd43dd8448eb211c80319c"
HEADERS = {"X-Request-Id": "abc-1", "traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}


@pytest.fixture
def calling(settings):
    changes = {
        "webhook_allowed_hosts": "127.0.0.1",
        "webhook_secret": SECRET,
        "webhook_retry_seconds": 5.0,
    }
    return type(settings).model_validate({**vars(settings), **changes})


@pytest.fixture
def receiver():
    running = Receiver()
    yield running
    running.close()


def posted(settings, sessions, receiver) -> uuid.UUID:
    client = authorised(create_app(settings), sessions)
    fields = {"accession_number": ACCESSION, "patient_ref": PATIENT_REF}
    data = {"image": (io.BytesIO(smear_bytes()), "a"), "callback_url": receiver.url, **fields}
    answer = client.post("/v1/jobs", data=data, headers=HEADERS)
    assert answer.status_code == 202, answer.json
    shown = client.get(f"/v1/jobs/{answer.json['id']}", headers={"X-Request-Id": "another"})
    assert shown.json["request_id"] == "abc-1"
    return uuid.UUID(answer.json["id"])


def called_back(sessions, calling, receiver):
    delivery = take_due(sessions, calling)
    deliver(sessions, calling, ALLOWED, delivery)
    return receiver.calls[-1]


def test_one_trace_goes_from_the_call_through_queue_and_worker_to_the_call_back(
    calling, sessions, runner, receiver
) -> None:
    with collecting() as collector, tracing_to(collector.url):
        job_id = posted(calling, sessions, receiver)
        eventually(lambda: count(sessions, OutboxRow) == 0, 10)
        runner.run(job_id, worker="w")
        call = called_back(sessions, calling, receiver)
    request, job, webhook = map(collector.one, ("POST /v1/jobs", "job", "webhook"))
    assert (request.trace_id, request.parent) == (TRACE, "b7ad6b7169203331")
    assert request.attributes["http.response.status_code"] == 202
    assert request.attributes["hemotriage.request_id"] == "abc-1"
    assert {span.parent for span in collector.named("enqueue")} == {request.id}
    assert {job.parent, webhook.parent} == {request.id}
    stages = [collector.one(name) for name in ("load", "decode", "quality", "infer", "complete")]
    assert {stage.parent for stage in stages} == {job.id}
    assert collector.one("batch").parent == collector.one("infer").id
    within = {span.parent for span in collector.named("object store")}
    assert within == {request.id, collector.one("load").id}
    assert collector.named("database"), "the API's statements are traced"
    of_others = [span for span in collector.spans if span.trace_id != TRACE]
    assert {span.name for span in of_others} <= {"GET /v1/jobs/<uuid:job_id>", "database"}
    assert call.headers["traceparent"] == f"00-{TRACE}-{webhook.id}-01"
    for value in (ACCESSION, PATIENT_REF, receiver.url, "/hook"):
        assert not any(value.encode() in body for body in collector.bodies), value


def test_every_line_of_a_job_has_its_request_id_and_the_call_back_too(
    calling, sessions, runner, receiver, log_lines
) -> None:
    job_id = posted(calling, sessions, receiver)
    eventually(lambda: count(sessions, OutboxRow) == 0, 10)
    runner.run(job_id, worker="w")
    call = called_back(sessions, calling, receiver)
    assert call.headers["x-request-id"] == "abc-1"
    assert "traceparent" not in call.headers, "nothing is traced"
    of_job = [line for line in log_lines if line.get("job_id") == str(job_id)]
    messages = {line["message"] for line in of_job if line.get("request_id") == "abc-1"}
    assert messages >= {
        *("job accepted", "job announced", "job claimed", "attempt ended", "webhook delivered")
    }
    others = [line["message"] for line in of_job if line.get("request_id") != "abc-1"]
    assert others == ["request"], "the call that looked at it has an id of its own"


def test_a_job_that_cannot_be_done_is_told_of_under_its_request_id(
    sessions, storage, runner, key_id, log_lines
) -> None:
    with about(request_id="abc-2"):
        job = post(sessions, storage, key_id).job
    storage.delete(image_key(job.id, 0))
    runner.run(job.id, worker="w")
    assert get_job(sessions, job.id, tenant=DEFAULT_TENANT).status == "failed"
    (failed,) = [line for line in log_lines if line["message"] == "attempt failed"]
    assert (failed["job_id"], failed["request_id"]) == (str(job.id), "abc-2")


def test_a_message_that_cannot_be_sent_is_told_of_under_its_request_id(
    sessions, storage, key_id, log_lines
) -> None:
    class Broken(Recorder):
        def __call__(self, *message: object) -> None:
            raise ValueError

    outbox = Outbox(sessions, Broken())
    with about(request_id="abc-3"):
        job = post(sessions, storage, key_id, outbox=outbox).job
    outbox.flush()
    lines = [line for line in log_lines if line["message"] == "message not sent"]
    assert {(line["job_id"], line["request_id"]) for line in lines} == {(str(job.id), "abc-3")}


def test_what_the_relay_announces_is_of_the_trace_and_the_request(
    sessions, storage, key_id, log_lines
) -> None:
    with collecting() as collector, tracing_to(collector.url):
        with about(request_id="abc-4"), span("request"):
            job = post(sessions, storage, key_id, Recorder(down=True)).job
        make_due(sessions)
        with sessions.begin() as session:
            assert send_due(session, Recorder(), limit=10) == 1
    request, sent = collector.one("request"), collector.named("enqueue")
    assert {(span.trace_id, span.parent) for span in sent} == {(request.trace_id, request.id)}
    (line,) = [line for line in log_lines if line["message"] == "job announced"]
    assert (line["job_id"], line["request_id"]) == (str(job.id), "abc-4")


def test_a_job_that_the_sweeper_ends_is_told_of_under_its_request_id(
    sessions, storage, key_id, log_lines
) -> None:
    with about(request_id="abc-5"):
        job = post(sessions, storage, key_id, expire_after_seconds=-1).job
    assert sweep_expired(sessions) == 1
    (line,) = [line for line in log_lines if line["message"] == "job swept"]
    told = (line["job_id"], line["request_id"], line["code"], line["status"])
    assert told == (str(job.id), "abc-5", "expired", "dead")
