"""Every call is in the audit trail, and the trail is read."""

from __future__ import annotations

import datetime as dt
import json
import signal
import subprocess
import sys
import uuid
from typing import Any

import httpx
import pytest
from flask.testing import FlaskClient
from pydantic import SecretStr
from sqlalchemy import event

from services.api.context import EXTENSION
from shared.audit.calls import Call, CallTrail
from shared.audit.queries import AuditEvent, AuditFilter, list_events
from shared.auth.keys import Scope, create_key, list_keys
from shared.clock import utc_now
from shared.db.session import Sessions, create_database, create_sessions
from shared.local.ports import free_ports
from tests.factories import smear_bytes
from tests.integration.posting import post
from tests.waiting import eventually

CALLED = "api.called"


def calls_of(client: FlaskClient) -> CallTrail:
    return client.application.extensions[EXTENSION].calls


def called(client: FlaskClient, sessions: Sessions) -> list[AuditEvent]:
    """The calls in the trail, newest first."""
    calls_of(client).flush()
    return list(list_events(sessions, AuditFilter(action=CALLED), limit=100).events)


def a_call(number: int = 0) -> Call:
    return Call(utc_now(), "key:a", "GET", "/v1/jobs", 200, None, f"call-{number}", 1.5)


def numbers(sessions: Sessions) -> list[str]:
    found = list_events(sessions, AuditFilter(action=CALLED), limit=100).events
    return [event.details["request_id"] for event in reversed(found)]


def test_a_call_is_recorded_with_who_made_it_and_what_came_of_it(client, sessions) -> None:
    (key,) = list_keys(sessions)
    job_id = uuid.uuid4()
    answer = client.get(f"/v1/jobs/{job_id}/result", headers={"X-Request-Id": "lis-17.a"})
    assert (answer.status_code, answer.headers["X-Request-Id"]) == (404, "lis-17.a")
    (event,) = called(client, sessions)
    assert (event.actor, event.job_id) == (f"key:{key.id}", job_id)
    assert abs(event.at - utc_now()) < dt.timedelta(minutes=1)
    assert event.details.pop("ms") > 0
    assert event.details == {
        "method": "GET",
        "route": "/v1/jobs/<uuid:job_id>/result",
        "status": 404,
        "request_id": "lis-17.a",
    }


def test_what_a_query_or_an_address_names_is_not_recorded(client, sessions) -> None:
    client.get("/v1/jobs?accession_number=ACC-4711")
    client.get("/v1/ACC-4711?x=ACC-4711")
    events = called(client, sessions)
    assert [event.details["route"] for event in events] == [None, "/v1/jobs"]
    assert "4711" not in str(events)


def test_a_method_that_none_of_ours_is_is_not_recorded_by_its_word(client, sessions) -> None:
    client.open("/v1/jobs", method="SMITH-JANE")
    (event,) = called(client, sessions)
    assert (event.details["method"], event.details["status"]) == ("other", 405)


def test_calls_of_strangers_and_of_keys_without_the_scope_are_recorded(client, sessions) -> None:
    reader, text = create_key(sessions, "reader", [Scope.READ])
    for header in ("", "Bearer nonsense", f"Bearer {text}"):
        client.get("/v1/audit", headers={"Authorization": header})
    seen = [(event.actor, event.details["status"]) for event in called(client, sessions)]
    assert seen == [(f"key:{reader.id}", 403), ("anonymous", 401), ("anonymous", 401)]


def test_probes_of_machines_are_not_recorded(client, sessions) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        assert client.get(path).headers["X-Request-Id"]
    assert called(client, sessions) == []


@pytest.mark.parametrize("sent", ["", "two words", "x" * 65, "Müller", 'a"b', None])
def test_a_call_gets_an_id_where_it_brings_no_good_one(client, sent: str | None) -> None:
    headers = {} if sent is None else {"X-Request-Id": sent}
    first, second = (client.get("/healthz", headers=headers) for _ in range(2))
    ids = {answer.headers["X-Request-Id"] for answer in (first, second)}
    assert len(ids) == 2
    assert all(uuid.UUID(each) for each in ids)


def test_an_error_that_nobody_foresaw_is_recorded(client, sessions, monkeypatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("services.api.routes.jobs.list_jobs", fail)
    assert client.get("/v1/jobs").status_code == 500
    (event,) = called(client, sessions)
    assert event.details["status"] == 500


def test_calls_are_written_in_order_and_in_one_statement(sessions, database) -> None:
    trail, sent = CallTrail(sessions), []

    def remember(*statement: object) -> None:
        sent.append(statement)

    event.listen(database, "before_cursor_execute", remember)
    for number in range(50):
        trail.add(a_call(number))
    assert sent == [], "who calls does not wait"
    trail.flush()
    trail.flush()
    event.remove(database, "before_cursor_execute", remember)
    assert len(sent) == 1
    assert numbers(sessions) == [f"call-{number}" for number in range(50)]


def test_calls_wait_for_a_database_that_is_away_and_the_oldest_are_dropped(
    settings, sessions, database
) -> None:
    url = settings.database_url.get_secret_value()
    port = url.rsplit(":", 1)[1].split("/")[0]
    away = settings.model_copy(update={"database_url": SecretStr(url.replace(port, "9"))})
    reaching = create_sessions(create_database(away, pool_size=1))
    trail = CallTrail(reaching, most_waiting=3)
    for number in range(3):
        trail.add(a_call(number))
    trail.flush()
    for number in (3, 4):
        trail.add(a_call(number))
    reaching.configure(bind=database)
    trail.flush()
    assert numbers(sessions) == ["call-2", "call-3", "call-4"]
    (dropped,) = list_events(sessions, AuditFilter(action="api.dropped"), limit=10).events
    assert (dropped.actor, dropped.details) == ("api", {"calls": 2})


def test_a_server_writes_within_seconds_and_at_its_end(
    servers, settings, sessions, tmp_path
) -> None:
    _, key = create_key(sessions, "pacs", [Scope.READ])
    log = (tmp_path / "log").open("w")
    environment = {**servers.environment(), "HEMOTRIAGE_API_PORT": str(free_ports(1)[0])}
    process = subprocess.Popen(
        [sys.executable, "-m", "services.api.main"], env=environment, stderr=log
    )
    try:
        url = f"http://127.0.0.1:{environment['HEMOTRIAGE_API_PORT']}"
        http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"})
        eventually(lambda: is_up(http), 60)
        http.get("/v1/jobs", headers={"X-Request-Id": "first"})
        eventually(lambda: numbers(sessions) == ["first"], 10)
        http.get("/v1/jobs", headers={"X-Request-Id": "last"})
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        log.close()
    assert numbers(sessions) == ["first", "last"]


def is_up(http: httpx.Client) -> bool:
    try:
        return http.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


def audit(client: FlaskClient, **query: Any) -> list[dict[str, Any]]:
    answer = client.get("/v1/audit", query_string=query)
    assert answer.status_code == 200, answer.json
    return answer.json["events"]


def test_the_trail_is_read_newest_first_with_what_was_recorded(client, sessions) -> None:
    job_id = post(client, smear_bytes()).json["id"]
    calls_of(client).flush()
    events = audit(client)
    assert [event["action"] for event in events] == [CALLED, "job.submitted", "key.created"]
    assert [event["id"] for event in events] == [3, 2, 1]
    assert (events[1]["job_id"], events[2]["actor"]) == (job_id, "operator")
    assert events[2]["details"]["scopes"] == sorted(Scope)


def test_the_trail_is_filtered(client, sessions) -> None:
    (key,) = list_keys(sessions)
    jobs = [post(client, smear_bytes()).json["id"] for _ in range(2)]
    client.get(f"/v1/jobs/{jobs[1]}")
    calls_of(client).flush()
    of_job = audit(client, job_id=jobs[1])
    assert [event["action"] for event in of_job] == [CALLED, "job.submitted"]
    assert len(audit(client, action="job.submitted")) == 2
    assert len(audit(client, actor="operator")) == 1
    assert len(audit(client, actor=f"key:{key.id}", job_id=jobs[0])) == 1
    moment = of_job[1]["at"]
    assert of_job[1] in audit(client, **{"from": moment})
    assert of_job[1] not in audit(client, to=moment)
    assert audit(client, **{"from": (utc_now() + dt.timedelta(days=1)).isoformat()}) == []


def test_the_trail_is_paged_and_misses_nothing(client, sessions) -> None:
    for number in range(7):
        calls_of(client).add(a_call(number))
    calls_of(client).flush()
    found, query = [], {"action": CALLED, "limit": 3}
    while True:
        page = client.get("/v1/audit", query_string=query).json
        found += [event["details"]["request_id"] for event in page["events"]]
        calls_of(client).flush()  # what comes meanwhile is on no later page
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert found == [f"call-{number}" for number in reversed(range(7))]


@pytest.mark.parametrize(
    "query",
    [
        {"job_id": "x"},
        {"from": "2026-01-01T00:00:00"},
        {"cursor": "x"},
        {"cursor": "0"},
        {"cursor": str(2**63)},
        {"limit": "201"},
        {"actor": ""},
    ],
)
def test_a_query_that_is_not_right_is_refused(client, query: dict[str, str]) -> None:
    answer = client.get("/v1/audit", query_string=query)
    assert (answer.status_code, answer.json["code"]) == (422, "validation_failed")


def test_the_document_names_the_filters(client) -> None:
    document = json.loads(client.get("/openapi.json").data)
    parameters = document["paths"]["/v1/audit"]["get"]["parameters"]
    names = {parameter["name"] for parameter in parameters}
    assert names == {"actor", "action", "job_id", "from", "to", "cursor", "limit"}
