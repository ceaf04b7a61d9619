"""A client is told of the end of its job, whatever happens to the relay."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from shared.client import Client
from shared.db.roles.table import Role
from shared.local.ports import free_ports
from shared.local.service import LocalService
from shared.local.synthetic import SYNTHETIC_SMEAR
from shared.webhooks.signature import key_of
from shared.webhooks.tenant_secrets import secret_of
from tests.canaries import ACCESSION, PATIENT_REF
from tests.command_line import command_line
from tests.receiver import SECRET, Receiver
from tests.waiting import eventually

PATIENT = {"accession_number": ACCESSION, "patient_ref": PATIENT_REF}


@pytest.fixture(scope="module")
def calling_service(service_folder: Path) -> Iterator[LocalService]:
    """A service that may call this machine back."""
    settings = {
        "HEMOTRIAGE_API_PORT": str(free_ports(1)[0]),
        "HEMOTRIAGE_WEBHOOK_ALLOWED_HOSTS": "127.0.0.1",
        "HEMOTRIAGE_WEBHOOK_SECRET": SECRET,
        "HEMOTRIAGE_WEBHOOK_RETRY_SECONDS": "0.5",
    }
    with LocalService(service_folder / "webhooks", settings=settings) as running:
        yield running


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    running = Receiver()
    yield running
    running.close()


def eventually_alive(service: LocalService, holds: Callable[[], object]) -> None:
    """Keep the service alive, as its supervisor does, until something holds."""
    eventually(holds, 120, meanwhile=service.ensure_alive)


def posted(service: LocalService, receiver: Receiver) -> tuple[Client, str]:
    client = Client(service.url, service.api_key)
    fields = {"callback_url": receiver.url, **PATIENT}
    return client, client.submit([SYNTHETIC_SMEAR], fields=fields).id


def test_a_job_that_ends_while_no_relay_runs_is_told_of_later(
    calling_service: LocalService, receiver: Receiver
) -> None:
    receiver.answers += [500, 500]
    relay = calling_service.applications["relay"]
    relay.kill()
    client, job_id = posted(calling_service, receiver)
    assert client.wait(job_id).status == "succeeded"
    assert receiver.calls == [], "there is nobody to call"
    eventually_alive(calling_service, lambda: len(receiver.calls) == 3)
    assert len({(call.event_id, call.body) for call in receiver.calls}) == 1
    for call in receiver.calls:
        assert call.is_signed()
        assert call.document["data"]["job_id"] == job_id
        assert call.document["data"]["links"]["result"] == f"/v1/jobs/{job_id}/result"
        sent = f"{call.path} {call.headers} {call.body.decode()}"
        assert not [value for value in PATIENT.values() if value in sent]
    eventually(lambda: "webhook delivered" in relay.spec.log.read_text(), 20)
    log = relay.spec.log.read_text()
    told = [line for line in map(json.loads, log.splitlines()) if line.get("job_id") == job_id]
    assert {line["message"] for line in told} == {"webhook failed", "webhook delivered"}
    request_id = client.job(job_id).request_id
    assert {line["request_id"] for line in told} == {request_id}
    assert {call.headers["x-request-id"] for call in receiver.calls} == {request_id}
    assert SECRET not in log
    assert "/hook" not in log, "a URL may hold a secret of the receiver"


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_relay_that_is_killed_in_the_middle_of_a_call_calls_again(
    calling_service: LocalService, receiver: Receiver
) -> None:
    relay, killed = calling_service.applications["relay"], threading.Event()

    def kill_the_caller(_: Receiver, handler: BaseHTTPRequestHandler) -> None:
        relay.kill()
        killed.set()
        handler.close_connection = True

    receiver.answers.append(kill_the_caller)
    client, job_id = posted(calling_service, receiver)
    assert client.wait(job_id).status == "succeeded"
    assert killed.wait(60)
    eventually_alive(calling_service, lambda: len(receiver.calls) == 2)
    first, second = receiver.calls
    assert (first.event_id, first.body) == (second.event_id, second.body)
    assert second.is_signed()
    assert second.document["type"] == "job.succeeded"


def test_webhooks_are_listed_and_sent_again_at_the_command_line(
    calling_service: LocalService, receiver: Receiver
) -> None:
    receiver.answers.append(410)
    environment = calling_service.environment(Role.OPERATOR)
    _, job_id = posted(calling_service, receiver)

    def undelivered() -> str:
        return command_line("webhooks", "list", "--undelivered", **environment).stdout

    eventually_alive(calling_service, lambda: "given_up" in undelivered())
    (call,) = receiver.calls
    shown = undelivered()
    for word in (call.event_id, job_id, "job.succeeded", "status_410"):
        assert word in shown
    done = command_line("webhooks", "resend", call.event_id, **environment)
    assert done.returncode == 0, done.stderr
    eventually_alive(calling_service, lambda: call.event_id not in undelivered())
    assert [again.event_id for again in receiver.calls] == [call.event_id] * 2
    assert call.event_id in command_line("webhooks", "list", **environment).stdout
    unknown = command_line("webhooks", "resend", job_id, **environment)
    assert "hemotriage: not_found: " in unknown.stderr


def test_secrets_are_made_at_the_command_line(calling_service: LocalService) -> None:
    assert len(key_of(command_line("webhooks", "secret").stdout.strip())) == 32
    environment = calling_service.environment(Role.OPERATOR)
    assert environment["HEMOTRIAGE_WEBHOOK_SECRET"] == SECRET

    def of(tenant: str) -> str:
        asked = ("webhooks", "tenant-secret", "--tenant", tenant)
        return command_line(*asked, **environment).stdout.strip()

    assert of("north") == secret_of(SECRET, "north")
    assert of("default") == SECRET
    none = environment | {"HEMOTRIAGE_WEBHOOK_SECRET": "", "HEMOTRIAGE_WEBHOOK_ALLOWED_HOSTS": ""}
    refused = command_line("webhooks", "tenant-secret", "--tenant=north", **none)
    assert refused.returncode != 0
    assert "HEMOTRIAGE_WEBHOOK_SECRET is not set" in refused.stderr


def test_a_relay_does_not_start_with_a_list_that_it_cannot_read(
    calling_service: LocalService,
) -> None:
    environment = calling_service.environment(Role.OPERATOR)
    for name, value in (("ALLOWED_HOSTS", "http://lis"), ("SECRET", "")):
        variable = f"HEMOTRIAGE_WEBHOOK_{name}"
        done = command_line("relay", **{**environment, variable: value})
        assert done.returncode == 1
        assert f"hemotriage: settings_invalid: Missing or wrong in the environment: {variable}" in (
            done.stderr
        )
