"""Data sets over HTTP: reviewed images become a data set, or join one."""

from __future__ import annotations

import uuid
from typing import Any

from flask.testing import FlaskClient

from shared.auth.keys import Scope, create_key
from shared.auth.tenants import DEFAULT_TENANT
from shared.db.session import Sessions
from shared.jobs.queries import get_job
from shared.triage.labels import LABELS
from tests.datasets import (
    drawn,
    ended,
    field,
    overlapping_fields,
)
from tests.factories import smear_bytes
from tests.integration.datasets.versions import made, sha256
from tests.integration.jobs import finish, take
from tests.integration.posting import post


def reviewed(
    client: FlaskClient, sessions: Sessions, label: str, *images: bytes, decision: str = "override"
) -> str:
    """A job of these images whose result, Benign, was reviewed."""
    job_id = post(client, *images).json["id"]
    held = take(sessions, get_job(sessions, uuid.UUID(job_id), tenant=DEFAULT_TENANT))
    assert held is not None
    assert finish(sessions, held)
    again(client, sessions, job_id, label, decision)
    return job_id


def again(
    client: FlaskClient, sessions: Sessions, job_id: str, label: str, decision: str = "override"
) -> None:
    """The same reader as before signs, and one who has not yet."""
    _, key = create_key(sessions, "another reader", [Scope.REVIEW])
    body = {"decision": decision, "label": label}
    for headers in ({}, {"Authorization": f"Bearer {key}"}):
        answer = client.post(f"/v1/jobs/{job_id}/review", json=body, headers=headers)
        assert answer.status_code == 201


def from_reviews(client: FlaskClient, **body: Any) -> dict[str, Any]:
    answer = client.post("/v1/datasets", json=body)
    assert answer.status_code == 202, answer.json
    found = ended(client, answer.json["id"])
    assert found["status"] == "ready", found["error"]
    return found


def test_reviewed_images_join_a_base(client, sessions, importer) -> None:
    base_files = drawn()
    first, second = overlapping_fields()
    base = made(client, {**base_files, "Pre/slide.png": first})
    reviewed(client, sessions, "Benign", field(31), decision="confirm")
    changed = reviewed(client, sessions, "Early", field(32))
    again(client, sessions, changed, "Pro")
    reviewed(client, sessions, "Pre", second)
    reviewed(client, sessions, "other", field(33))
    reviewed(client, sessions, "Pro", field(34), field(35))
    reviewed(client, sessions, "Early", base_files["Early/1.png"])
    reviewed(client, sessions, "Early", base_files["Pro/1.png"])
    found = from_reviews(client, base=base["id"], reviews_since=base["id"], name="reviewed")
    assert found["counts"] == {"Benign": 2, "Early": 1, "Pre": 3, "Pro": 1}
    assert found["source"] == "reviews"
    lineage = found["lineage"]
    assert (lineage["base"], lineage["reviews_since"]) == (base["id"], base["id"])
    reviews = lineage["reviews"]
    assert (reviews["jobs"], reviews["considered"], reviews["taken"]) == (7, 6, 3)
    assert reviews["left_out"] == {"already_there": 1, "label_conflict": 1, "several_images": 1}
    conflicts = [fault["label"] for fault in found["faults"] if fault["code"] == "label_conflict"]
    assert conflicts == ["Early", "Pro"]
    images = client.get(found["links"]["manifest"]).json["images"]
    groups = {image["sha256"]: image["group"] for image in images}
    labels = {image["sha256"]: image["label"] for image in images}
    assert groups[sha256(first)] == groups[sha256(second)]
    assert labels[sha256(field(32))] == "Pro"
    assert sha256(base_files["Pro/1.png"]) not in labels


def test_reviews_count_from_when_a_version_was_asked_for(client, sessions, importer) -> None:
    reviewed(client, sessions, "Pro", field(31))
    base = made(client, drawn())
    assert from_reviews(client, base=base["id"])["counts"]["Pro"] == 2
    since = from_reviews(client, base=base["id"], reviews_since=base["id"])
    assert (since["version"], since["same_as"]) == (base["version"], base["id"])
    assert since["lineage"]["reviews"]["jobs"] == 0
    reviewed(client, sessions, "Pro", field(32))
    later = from_reviews(client, base=base["id"], reviews_since=since["id"])
    assert (later["counts"]["Pro"], later["lineage"]["reviews"]["taken"]) == (2, 1)


def test_reviews_alone_are_a_data_set_too(client, sessions, importer) -> None:
    for number, label in enumerate(LABELS):
        decision = "confirm" if label == "Benign" else "override"
        reviewed(client, sessions, label, field(40 + number), decision=decision)
    found = from_reviews(client)
    assert found["counts"] == dict.fromkeys(map(str, LABELS), 1)
    assert found["lineage"]["base"] is None


def test_no_locked_test_set_is_a_base_and_none_leaks_by_reviews(client, sessions, importer) -> None:
    test = drawn()
    locked = made(client, test, locked="true")
    answer = client.post("/v1/datasets", json={"base": locked["id"]})
    assert (answer.status_code, answer.json["code"]) == (409, "dataset_locked")
    base = made(client, drawn(11))
    reviewed(client, sessions, "Pro", test["Pro/1.png"])
    found = from_reviews(client, base=base["id"])
    assert found["version"] == base["version"]
    assert found["lineage"]["reviews"]["left_out"] == {"leaks_into_locked_test": 1}
    assert found["leaks_into"][0]["dataset_id"] == locked["id"]


def test_an_image_that_is_gone_is_left_out_and_counted(client, sessions, storage, importer) -> None:
    base = made(client, drawn())
    job_id = reviewed(client, sessions, "Pro", smear_bytes(51))
    storage.delete(f"jobs/{job_id}/images/0")
    reviews = from_reviews(client, base=base["id"])["lineage"]["reviews"]
    assert (reviews["taken"], reviews["left_out"]) == (0, {"object_missing": 1})
