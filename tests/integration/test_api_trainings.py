"""Training runs over HTTP: asked for, read, followed, cancelled."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient

from services.api.app import create_app
from services.api.context import EXTENSION
from shared.db.models import TrainingRunRow
from shared.trainings.claim import claim, complete, renew
from shared.trainings.states import EventKind, Told, TrainingClaim
from tests.integration.jobs import LEASE, count
from tests.integration.posting import authorised
from tests.trainings import a_ready_dataset

EPOCH = Told(EventKind.EPOCH, "epoch/1/run/1", {"seed": 1, "epoch": 1, "val_loss": 0.5})
LINE = Told(EventKind.LOG, "log/1/1", {"text": "seed 1 begins"})


@pytest.fixture
def body(sessions) -> dict[str, object]:
    """A request that is accepted."""
    return {"architecture": "cnn_custom", "dataset_id": str(a_ready_dataset(sessions))}


@pytest.fixture
def address(client: FlaskClient, body) -> str:
    """Where a queued run is."""
    return client.post("/v1/trainings", json=body).headers["Location"]


def taken(sessions) -> TrainingClaim:
    held = claim(sessions, worker="t1", lease_seconds=LEASE, max_attempts=3)
    assert held is not None
    return held


def parsed(stream: Iterator[str]) -> Iterator[tuple[str, str, dict[str, object]]]:
    """The events of a stream: number, name and data."""
    for part in "".join(stream).split("\n\n"):
        lines = dict(line.split(": ", 1) for line in part.splitlines() if line.strip() != ":")
        if "event" in lines:
            yield lines["id"], lines["event"], json.loads(lines["data"])


def test_a_run_is_accepted_read_and_listed(client, body) -> None:
    asked = {**body, "seeds": [1, 2], "overrides": {"max_epochs": 4}, "base": "cnn_custom"}
    answer = client.post("/v1/trainings", json=asked)
    assert answer.status_code == 202
    run = answer.json
    assert answer.headers["Location"] == run["links"]["self"] == f"/v1/trainings/{run['id']}"
    assert (run["status"], run["progress"], run["seconds_left"]) == ("queued", 0, None)
    assert (run["seeds"], run["overrides"]) == ([1, 2], {"max_epochs": 4})
    assert run["base"] == "cnn_custom@2", "the version is fixed when it is asked for"
    assert client.get(run["links"]["self"]).json == run
    listed = client.get("/v1/trainings?status=queued").json["trainings"]
    assert [one["id"] for one in listed] == [run["id"]]
    assert client.get("/v1/trainings?status=failed").json["trainings"] == []


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"architecture": "resnet5000"}, (422, "validation_failed")),
        ({"protocol": "published"}, (422, "validation_failed")),
        ({"recipe": "mine"}, (422, "validation_failed")),
        ({"seeds": []}, (422, "validation_failed")),
        ({"seeds": [1, 1]}, (422, "validation_failed")),
        ({"seeds": [-1]}, (422, "validation_failed")),
        ({"overrides": {"seed": 3}}, (422, "validation_failed")),
        ({"overrides": {"max_epochs": 0}}, (422, "validation_failed")),
        ({"overrides": {"learning_rate": 2}}, (422, "validation_failed")),
        ({"overrides": {"patience": 3}}, (422, "validation_failed")),
        ({"recipe": "study", "overrides": {"with_validation": True}}, (422, "validation_failed")),
        ({"epochs": 3}, (422, "validation_failed")),
        ({"dataset_id": "the-old-one"}, (422, "validation_failed")),
        ({"dataset_id": str(uuid.uuid4())}, (404, "not_found")),
        ({"base": "cnn_custom@77"}, (422, "unknown_model")),
        ({"base": "student@1"}, (422, "base_mismatch")),
        ({"base": "champion"}, (422, "base_mismatch")),
    ],
)
def test_what_cannot_be_trained_is_refused_before_it_is_accepted(
    client, sessions, body, change, refusal
) -> None:
    answer = client.post("/v1/trainings", json={**body, **change})
    assert (answer.status_code, answer.json["code"]) == refusal
    assert answer.content_type == "application/problem+json"
    assert count(sessions, TrainingRunRow) == 0


def test_a_locked_test_set_is_never_trained_on(client, sessions, body) -> None:
    locked = str(a_ready_dataset(sessions, locked=True))
    answer = client.post("/v1/trainings", json={**body, "dataset_id": locked})
    assert (answer.status_code, answer.json["code"]) == (409, "dataset_locked")


def test_a_run_tells_its_epochs_and_its_log(client, sessions, address) -> None:
    held = taken(sessions)
    values = {"lease_seconds": LEASE, "progress": 0.25, "seconds_left": 9.5, "device": "cpu"}
    renew(sessions, held, told=[LINE, EPOCH], **values)
    run = client.get(address).json
    assert (run["status"], run["attempts"], run["device"]) == ("running", 1, "cpu")
    assert (run["progress"], run["seconds_left"]) == (0.25, 9.5)
    assert run["epochs"] == [EPOCH.document]
    log = client.get(f"{address}/logs").json
    assert [line["text"] for line in log["lines"]] == ["seed 1 begins"]
    again = client.get(f"{address}/logs?after={log['next']}").json
    assert (again["lines"], again["next"], again["status"]) == ([], log["next"], "running")
    complete(sessions, held, {"models": {}})
    ended = client.get(address).json
    assert (ended["status"], ended["registered"], ended["error"]) == ("succeeded", None, None)
    assert ended["record"]["models"] == {}


def test_a_run_is_cancelled_once(client, address) -> None:
    assert client.delete(address).json["status"] == "cancelled"
    again = client.delete(address)
    assert (again.status_code, again.json["code"]) == (409, "conflict")
    absent = client.delete(f"/v1/trainings/{uuid.uuid4()}")
    assert (absent.status_code, absent.json["code"]) == (404, "not_found")


def test_a_run_is_followed_to_its_end(client, sessions, address) -> None:
    held = taken(sessions)
    answer = client.get(f"{address}/events", buffered=False)
    assert (answer.status_code, answer.content_type) == (200, "text/event-stream")
    stream = answer.iter_encoded()
    first = next(stream) + next(stream)
    assert b"event: status" in first

    def train() -> None:
        renew(sessions, held, lease_seconds=LEASE, progress=0.5, told=[EPOCH, LINE])
        complete(sessions, held, {"models": {}})

    thread = threading.Thread(target=train)
    thread.start()
    told = list(parsed(part.decode() for part in [first, *stream]))
    thread.join()
    assert [name for _, name, _ in told] == ["status", "status", "epoch", "log", "status"]
    assert told[2][2]["val_loss"] == 0.5
    assert told[-1][2]["status"] == "succeeded"

    rest = client.get(f"{address}/events", headers={"Last-Event-ID": told[2][0]})
    assert list(parsed([rest.text])) == told[3:]
    all_known = client.get(f"{address}/events", headers={"Last-Event-ID": told[-1][0]})
    assert (all_known.status_code, all_known.data) == (204, b"")
    odd = client.get(f"{address}/events", headers={"Last-Event-ID": "-1"})
    assert (odd.status_code, odd.json["code"]) == (400, "bad_request")


def test_listeners_are_bounded_and_give_their_places_back(settings, sessions, body) -> None:
    app = create_app(settings)
    client = authorised(app, sessions)
    address = client.post("/v1/trainings", json=body).headers["Location"]
    places = app.extensions[EXTENSION].listening_places._value
    assert places >= 1
    open_ones = [client.get(f"{address}/events", buffered=False) for _ in range(places)]
    next(open_ones[0].iter_encoded())
    refused = client.get(f"{address}/events")
    assert (refused.status_code, refused.json["code"]) == (503, "too_many_listeners")
    for one in open_ones:
        one.close()
    client.delete(address)
    assert client.get(f"{address}/events").status_code == 200


def test_listeners_leave_when_the_api_stops(settings, sessions, body) -> None:
    app = create_app(settings)
    client = authorised(app, sessions)
    address = client.post("/v1/trainings", json=body).headers["Location"]
    stream = client.get(f"{address}/events", buffered=False).iter_encoded()
    assert b"queued" in next(stream) + next(stream)
    app.extensions[EXTENSION].stopping.set()
    assert b"event" not in b"".join(stream)
