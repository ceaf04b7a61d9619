"""Holds and erasures over HTTP, and what is answered for what is gone."""

from __future__ import annotations

import threading
import uuid

import pytest
from flask.testing import FlaskClient

from shared.db.session import Sessions
from shared.retention.erase import carry_out_all
from shared.retention.watch import watch
from shared.settings import Settings
from shared.storage.s3 import S3Store
from tests.integration.jobs import post
from tests.integration.retention.conftest import NO_TIME, Purging
from tests.integration.retention.patients import a_patient
from tests.waiting import eventually


def test_a_hold_is_placed_listed_and_released_once(client: FlaskClient) -> None:
    wanted = {"kind": "patient_ref", "value": "pn-1", "reason": "m-1"}
    placed = client.post("/v1/holds", json=wanted)
    assert placed.status_code == 201
    assert {name: placed.json[name] for name in wanted} == wanted
    assert placed.json["placed_by"].startswith("key:")
    assert [one["id"] for one in client.get("/v1/holds").json["holds"]] == [placed.json["id"]]
    address = placed.headers["Location"]
    assert client.delete(address).json["released_at"] is not None
    again = client.delete(address)
    assert (again.status_code, again.json["code"]) == (409, "conflict")
    assert client.get("/v1/holds").json["holds"] == []
    assert len(client.get("/v1/holds?released=true").json["holds"]) == 1


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"kind": "job", "value": "no id"}, 400),
        ({"kind": "name"}, 422),
        ({"reason": "Ada Lovelace asked"}, 422),
        ({"value": ""}, 422),
    ],
)
def test_a_hold_that_means_nothing_is_refused(
    client: FlaskClient, change: dict[str, str], status: int
) -> None:
    wanted = {"kind": "patient_ref", "value": "pn-1", "reason": "m-1", **change}
    assert client.post("/v1/holds", json=wanted).status_code == status


def test_an_erasure_is_asked_for_and_done_by_the_retention_process(
    client: FlaskClient, settings: Settings, sessions: Sessions, storage: S3Store, key_id: str
) -> None:
    gone = a_patient(sessions, storage, key_id)
    job = f"/v1/jobs/{gone.job_id}"
    asked = client.post("/v1/erasures", json={"patient_ref": gone.ref, "reason": "a_test"})
    assert (asked.status_code, asked.json["status"]) == (202, "queued")
    assert gone.ref not in asked.text
    stop = threading.Event()
    process = threading.Thread(target=watch, args=(settings, sessions, storage, stop))
    process.start()
    try:
        eventually(lambda: client.get(asked.headers["Location"]).json["status"] == "done")
    finally:
        stop.set()
        process.join(20)
    done = client.get(asked.headers["Location"]).json
    assert (done["counts"]["jobs"], done["jobs"]) == (1, [str(gone.job_id)])
    for path in (job, f"{job}/result", f"{job}/images/0", f"{job}/images/0/explanation"):
        answer = client.get(path)
        assert (answer.status_code, answer.json["code"]) == (410, "erased"), path
    review = client.post(f"{job}/review", json={"decision": "confirm"})
    assert (review.status_code, review.json["code"]) == (410, "erased")
    assert client.delete(job).json["code"] == "erased"
    assert [one["id"] for one in client.get("/v1/erasures").json["erasures"]] == [done["id"]]


def test_what_is_held_is_refused_with_the_holds_and_nothing_is_asked_for(
    client: FlaskClient, sessions: Sessions, storage: S3Store, key_id: str
) -> None:
    job = post(sessions, storage, key_id, patient_ref="pn-1").job
    hold = client.post(
        "/v1/holds", json={"kind": "job", "value": str(job.id), "reason": "m-1"}
    ).json
    refused = client.post("/v1/erasures", json={"patient_ref": "pn-1", "reason": "a_test"})
    assert (refused.status_code, refused.json["code"]) == (409, "legal_hold")
    assert hold["id"] in refused.json["detail"]
    assert client.get("/v1/erasures").json["erasures"] == []
    assert carry_out_all(sessions, storage, again_after=NO_TIME) == 0
    assert client.get(f"/v1/jobs/{job.id}").status_code == 200


def test_a_purged_image_is_410_and_its_result_says_when_it_went(
    client: FlaskClient, sessions: Sessions, storage: S3Store, key_id: str, purge: Purging
) -> None:
    job = f"/v1/jobs/{a_patient(sessions, storage, key_id).job_id}"
    assert client.get(f"{job}/result").json["images_purged_at"] is None
    purge(images="0 days", explanations="0 days")
    result = client.get(f"{job}/result").json
    assert result["images_purged_at"] == client.get(job).json["result"]["images_purged_at"]
    assert result["images_purged_at"] is not None
    for path in (f"{job}/images/0", f"{job}/images/0/explanation"):
        answer = client.get(path)
        assert (answer.status_code, answer.json["code"]) == (410, "purged"), path
        assert "kept" in answer.json["title"]


def test_an_unknown_hold_or_erasure_is_404(client: FlaskClient) -> None:
    nothing = uuid.UUID(int=4)
    assert client.delete(f"/v1/holds/{nothing}").status_code == 404
    assert client.get(f"/v1/erasures/{nothing}").status_code == 404
