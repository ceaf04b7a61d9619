"""Gates over HTTP: asked for, polled, listed, refused."""

from __future__ import annotations

import uuid

from flask.testing import FlaskClient

from shared.db.models import GateRow
from shared.db.session import Sessions
from tests.integration.gates import told
from tests.integration.jobs import count
from tests.trainings import a_ready_dataset


def test_a_gate_is_asked_for_read_and_listed(client: FlaskClient, sessions: Sessions) -> None:
    older = str(a_ready_dataset(sessions, locked=True))
    newest = str(a_ready_dataset(sessions, locked=True))
    answer = client.post("/v1/models/student/versions/2/gates")
    assert answer.status_code == 202
    gate = answer.json
    assert answer.headers["Location"] == gate["links"]["self"] == f"/v1/gates/{gate['id']}"
    assert (gate["model"], gate["champion"], gate["status"]) == (
        "student@2",
        "ensemble@1",
        "queued",
    )
    assert (gate["dataset_id"], gate["report"], gate["error"]) == (newest, None, None)
    polled = client.get(gate["links"]["self"])
    assert polled.json == gate
    assert polled.headers["Retry-After"]
    assert client.get(gate["links"]["model"]).status_code == 200

    asked = {"dataset_id": older}
    other = client.post("/v1/models/cnn_custom/versions/1/gates", json=asked).json
    assert other["dataset_id"] == older
    in_all = client.get("/v1/gates").json["gates"]
    assert [one["id"] for one in in_all] == [other["id"], gate["id"]]
    assert "report" not in in_all[0]
    assert len(client.get("/v1/gates?limit=1").json["gates"]) == 1
    of_one = client.get("/v1/gates?model=student&version=2").json["gates"]
    assert [one["id"] for one in of_one] == [gate["id"]]
    assert client.get("/v1/gates?model=student&version=1").json["gates"] == []
    assert [action for _, action, _ in told(sessions)] == ["gate.requested"] * 2


def test_a_gate_needs_a_locked_test_set(client: FlaskClient, sessions: Sessions) -> None:
    path = "/v1/models/student/versions/2/gates"
    open_one = a_ready_dataset(sessions)
    refused = {
        None: (409, "no_locked_test_set"),
        str(open_one): (409, "conflict"),
        str(uuid.uuid4()): (404, "not_found"),
        "the-old-one": (422, "validation_failed"),
    }
    for dataset_id, expected in refused.items():
        answer = client.post(path, json={"dataset_id": dataset_id})
        assert (answer.status_code, answer.json["code"]) == expected, dataset_id
    extra = client.post(path, json={"champion": "student@1"})
    assert (extra.status_code, extra.json["code"]) == (422, "validation_failed")
    assert count(sessions, GateRow) == 0
