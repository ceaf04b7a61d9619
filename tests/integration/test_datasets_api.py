"""Data sets over HTTP: what is taken, what is refused, and what an import makes of it."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import tracemalloc
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select

from services.api.app import create_app
from shared.auth.keys import Scope, create_key
from shared.db.models import AuditRow, DatasetRow
from shared.db.session import Sessions
from shared.jobs.queries import get_job
from shared.settings import Settings
from shared.storage import UPLOADS_PREFIX, ObjectMissingError, upload_key
from shared.storage.s3 import S3Store
from shared.triage.labels import LABELS
from tests.datasets import (
    drawn,
    ended,
    field,
    importing,
    overlapping_fields,
    upload,
    zipped,
)
from tests.factories import smear_bytes, truncated_jpeg
from tests.integration.jobs import count, finish, take
from tests.integration.posting import authorised, post

NAME = "Ada Lovelace"


@pytest.fixture
def importer(
    settings: Settings, sessions: Sessions, storage: S3Store, tmp_path: Path
) -> Iterator[None]:
    """A trainer that imports."""
    with importing(settings, sessions, storage, tmp_path / "work"):
        yield


def made(client: FlaskClient, files: dict[str, bytes], **query: Any) -> dict[str, Any]:
    """Upload and wait for a version."""
    answer = upload(client, files, **query)
    assert answer.status_code == 202, answer.json
    found = ended(client, answer.json["id"])
    assert found["status"] == "ready", found["error"]
    return found


def uploads(storage: S3Store) -> set[str]:
    return {found.key for found in storage.list(UPLOADS_PREFIX, after=UPLOADS_PREFIX)}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def audited(sessions: Sessions) -> list[AuditRow]:
    wanted = select(AuditRow).where(AuditRow.action.startswith("dataset.")).order_by(AuditRow.id)
    with sessions() as session:
        return list(session.scalars(wanted))


# What is taken


def test_a_zip_is_taken_and_waits_for_a_trainer(client, sessions, storage) -> None:
    data = zipped(drawn())
    answer = upload(client, data, name="March", locked="true")
    assert answer.status_code == 202
    body = answer.json
    assert answer.headers["Location"] == body["links"]["self"] == f"/v1/datasets/{body['id']}"
    assert "Retry-After" in answer.headers
    assert (body["status"], body["name"], body["locked"]) == ("queued", "March", True)
    assert body["lineage"] == {
        "base": None,
        "reviews_since": None,
        "upload": {"sha256": sha256(data), "bytes": len(data)},
    }
    assert (body["version"], body["statistics"], body["faults"]) == (None, None, [])
    assert b"".join(storage.get_stream(upload_key(body["id"]))) == data
    assert client.get(body["links"]["self"]).json == body
    (event,) = audited(sessions)
    assert (event.action, event.actor[:4]) == ("dataset.requested", "key:")
    assert event.details == {"dataset_id": body["id"], "source": "upload", "locked": True}


@pytest.mark.parametrize("order", ["fields first", "file first"])
def test_a_form_is_taken_whatever_the_order_of_its_fields(client, storage, order: str) -> None:
    data = zipped(drawn())
    file = {"file": (io.BytesIO(data), f"{NAME}.zip", "application/zip")}
    fields = {"name": "March", "locked": "true"}
    form = {**fields, **file} if order == "fields first" else {**file, **fields}
    answer = client.post("/v1/datasets", data=form)
    assert answer.status_code == 202
    assert (answer.json["name"], answer.json["locked"]) == ("March", True)
    assert answer.json["lineage"]["upload"]["sha256"] == sha256(data)
    assert b"".join(storage.get_stream(upload_key(answer.json["id"]))) == data


@pytest.mark.parametrize("as_form", [False, True])
def test_a_zip_of_several_parts_arrives_whole(client, storage, as_form: bool) -> None:
    data = b"\r\n--parts of a boundary--".join(bytes([n]) * 3_000_000 for n in range(7))
    if as_form:
        answer = client.post("/v1/datasets", data={"file": (io.BytesIO(data), "x.zip")})
    else:
        answer = upload(client, data)
    assert answer.json["lineage"]["upload"] == {"sha256": sha256(data), "bytes": len(data)}
    assert b"".join(storage.get_stream(upload_key(answer.json["id"]))) == data


class Zeros(io.RawIOBase):
    """So many zeros, without holding them."""

    def __init__(self, length: int) -> None:
        self._left = length

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = min(len(buffer), self._left)
        buffer[:size] = bytes(size)
        self._left -= size
        return size


def test_a_large_zip_is_never_held_in_memory(client, storage) -> None:
    length = 96 * 1024**2
    untold = {"CONTENT_LENGTH": str(length), "wsgi.input": io.BufferedReader(Zeros(length))}
    tracemalloc.start()
    try:
        answer = client.post(
            "/v1/datasets", content_type="application/zip", environ_overrides=untold
        )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert answer.json["lineage"]["upload"]["bytes"] == length
    assert peak < length / 2
    storage.delete(upload_key(answer.json["id"]))


# What is refused


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"data": b"x", "content_type": "image/png"}, 415, "unsupported_media_type"),
        ({"data": b"x"}, 415, "unsupported_media_type"),
        ({"data": b"", "content_type": "application/zip"}, 400, "no_archive"),
        ({"data": {"name": "x"}, "content_type": "multipart/form-data"}, 400, "no_archive"),
        ({"data": {"image": (io.BytesIO(b"x"), "x.zip")}}, 400, "no_archive"),
        ({"data": {"file": [(io.BytesIO(b"x"), "x"), (io.BytesIO(b"y"), "y")]}}, 400, "no_archive"),
        (
            {"data": b"--b\r\nnothing", "content_type": "multipart/form-data; boundary=b"},
            400,
            "bad_request",
        ),
        ({"data": {"file": (io.BytesIO(b"x"), "x"), "lock": "1"}}, 422, "validation_failed"),
        ({"data": {"file": (io.BytesIO(b"x"), "x"), "name": "x" * 2000}}, 400, "bad_request"),
        (
            {"data": b"x", "content_type": "application/zip", "query_string": {"locked": "maybe"}},
            422,
            "validation_failed",
        ),
    ],
)
def test_what_is_no_upload_is_refused_and_leaves_nothing(
    client, sessions, storage, body: dict[str, Any], *, status: int, code: str
) -> None:
    before = uploads(storage)
    answer = client.post("/v1/datasets", **body)
    assert (answer.status_code, answer.json["code"]) == (status, code)
    assert answer.content_type == "application/problem+json"
    assert count(sessions, DatasetRow) == 0
    assert uploads(storage) == before


@pytest.mark.parametrize("told", [True, False])
def test_what_is_too_large_is_refused(settings, sessions, storage, told: bool) -> None:
    small = settings.model_copy(update={"max_dataset_bytes": 1000})
    client = authorised(create_app(small), sessions)
    before = uploads(storage)
    untold = {"CONTENT_LENGTH": "", "wsgi.input_terminated": True}
    answer = client.post(
        "/v1/datasets",
        input_stream=io.BytesIO(bytes(1001)),
        content_type="application/zip",
        environ_overrides={} if told else untold,
    )
    assert (answer.status_code, answer.json["code"]) == (413, "payload_too_large")
    assert (count(sessions, DatasetRow), uploads(storage)) == (0, before)


def test_an_upload_that_is_cut_off_leaves_nothing(client, sessions, storage) -> None:
    before = uploads(storage)
    answer = client.post(
        "/v1/datasets",
        input_stream=io.BytesIO(bytes(1000)),
        environ_overrides={"CONTENT_LENGTH": "2000"},
        content_type="application/zip",
    )
    assert (answer.status_code, answer.json["code"]) == (400, "bad_request")
    assert (count(sessions, DatasetRow), uploads(storage)) == (0, before)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ("{", 400, "bad_request"),
        ("[]", 422, "validation_failed"),
        ('{"base": "x"}', 422, "validation_failed"),
        ('{"locked": true}', 422, "validation_failed"),
        (json.dumps({"base": "00000000-0000-4000-8000-000000000000"}), 404, "not_found"),
        (json.dumps({"reviews_since": "00000000-0000-4000-8000-000000000000"}), 404, "not_found"),
    ],
)
def test_what_asks_for_no_reviews_is_refused(
    client, sessions, body: str, status: int, code: str
) -> None:
    answer = client.post("/v1/datasets", data=body, content_type="application/json")
    assert (answer.status_code, answer.json["code"]) == (status, code)
    assert count(sessions, DatasetRow) == 0


def test_a_data_set_that_is_no_version_has_no_manifest_and_is_no_base(client) -> None:
    waiting = upload(client, drawn()).json
    for answer in (
        client.get(waiting["links"]["manifest"]),
        client.post("/v1/datasets", json={"base": waiting["id"]}),
        client.post("/v1/datasets", json={"reviews_since": waiting["id"]}),
    ):
        assert (answer.status_code, answer.json["code"]) == (409, "dataset_not_ready")


def test_a_data_set_that_is_not_there_is_not_found(client) -> None:
    for path in ("", "/manifest"):
        answer = client.get(f"/v1/datasets/{uuid.uuid4()}{path}")
        assert (answer.status_code, answer.json["code"]) == (404, "not_found")


def test_the_document_describes_what_may_be_sent(client) -> None:
    operation = client.get("/openapi.json").json["paths"]["/v1/datasets"]["post"]
    content = operation["requestBody"]["content"]
    assert {"application/zip", "application/json", "multipart/form-data"} <= set(content)
    assert set(content["multipart/form-data"]["schema"]["properties"]) == {"file", "name", "locked"}
    assert {"202", "401", "403", "409", "413", "415", "422"} <= set(operation["responses"])


# What an import makes of it


def test_an_upload_becomes_a_version_with_all_about_it(client, sessions, storage, importer) -> None:
    first, second = overlapping_fields()
    files = {**drawn(), "Pre/a.png": first, "Pre/b.png": second, "Pre/copy.png": second}
    broken = truncated_jpeg()
    files |= {f"Pro/{NAME}.jpg": broken, "notes.txt": b"x"}
    found = made(client, {f"March/{name}": content for name, content in files.items()})
    statistics = found["statistics"]
    assert found["counts"] == {"Benign": 1, "Early": 1, "Pre": 3, "Pro": 1}
    assert (statistics["images"], statistics["groups"], statistics["largest_group"]) == (6, 5, 2)
    assert (statistics["duplicates"], statistics["passed_over"]) == (1, 1)
    assert statistics["left_out"] == {"corrupt_image": 1}
    assert statistics["media_types"] == {"image/png": 6}
    assert statistics["sizes"] == {"224x224": 6}
    assert statistics["bytes"]["largest"] == max(map(len, [*drawn().values(), first, second]))
    (fault,) = found["faults"]
    assert (fault["label"], fault["sha256"]) == ("Pro", sha256(broken))
    assert (fault["code"], fault["left_out"]) == ("corrupt_image", True)

    manifest = client.get(found["links"]["manifest"]).json
    assert manifest["version"] == found["version"]
    groups = {image["sha256"]: image["group"] for image in manifest["images"]}
    assert groups[sha256(first)] == groups[sha256(second)]
    for image in manifest["images"]:
        content = storage.get(f"datasets/images/{image['sha256']}")
        assert (sha256(content), len(content)) == (image["sha256"], image["bytes"])
    with pytest.raises(ObjectMissingError):
        storage.get(upload_key(found["id"]))
    assert [event.action for event in audited(sessions)] == ["dataset.requested", "dataset.ready"]


def test_names_of_files_are_told_by_nobody(client, sessions, importer, caplog) -> None:
    files = {f"{NAME}/{label}/{NAME} {n}.png": field(n) for n, label in enumerate(LABELS)}
    files[f"{NAME}/Early/{NAME}.png"] = files[f"{NAME}/Benign/{NAME} 0.png"]
    files[f"{NAME}/Benign/{NAME} 9.jpg"] = field(9)
    files[f"{NAME}/Early/{NAME} 8.jpg"] = b"x"
    with caplog.at_level(logging.DEBUG):
        found = made(client, files)
    assert {fault["code"] for fault in found["faults"]} == {
        "label_conflict",
        "mislabelled_type",
        "unsupported_media_type",
    }
    shown = json.dumps([found, client.get(found["links"]["manifest"]).json]) + caplog.text
    assert "Ada" not in shown
    with sessions() as session:
        assert "Ada" not in str(session.scalars(select(DatasetRow.record)).one())


def test_the_same_images_are_the_same_version(client, importer) -> None:
    files = drawn()
    first = made(client, files)
    renamed = {name.replace("1.", "2."): content for name, content in reversed(files.items())}
    second = made(client, {f"top/{name}": content for name, content in renamed.items()})
    assert first["same_as"] is None
    assert (second["version"], second["same_as"]) == (first["version"], first["id"])
    manifests = [client.get(found["links"]["manifest"]).json for found in (first, second)]
    assert manifests[0] == manifests[1]
    assert client.get(first["links"]["self"]).json == first


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"no zip", "archive_not_zip"),
        (zipped(drawn())[:-30], "archive_damaged"),
        (zipped({"Pro/0.png": b"x"}), "dataset_invalid"),
        (zipped({"photo.png": b"x"}), "no_class_folder"),
        (zipped({f"{label}/x.png": b"x" for label in LABELS}), "dataset_invalid"),
    ],
)
def test_an_upload_that_is_no_data_set_fails_with_a_code(
    client, sessions, importer, data: bytes, code: str
) -> None:
    answer = upload(client, data)
    found = ended(client, answer.json["id"])
    assert (found["status"], found["error"]["code"], found["attempts"]) == ("failed", code, 1)
    assert (found["version"], found["counts"], found["statistics"]) == (None, None, None)
    assert "/" not in found["error"]["detail"]
    assert client.get(found["links"]["manifest"]).json["code"] == "dataset_not_ready"
    assert [event.action for event in audited(sessions)] == ["dataset.requested", "dataset.failed"]


def test_data_sets_are_listed_newest_first(client, importer) -> None:
    ids = [upload(client, drawn(start)).json["id"] for start in (1, 11, 21)]
    for dataset_id in ids:
        ended(client, dataset_id)
    listed = client.get("/v1/datasets").json["datasets"]
    assert [row["id"] for row in listed] == ids[::-1]
    assert listed[0]["counts"] == dict.fromkeys(map(str, LABELS), 1)
    assert "faults" not in listed[0]
    assert len(client.get("/v1/datasets?limit=2").json["datasets"]) == 2
    assert client.get("/v1/datasets?limit=0").status_code == 422


# Leaks


def test_what_a_locked_test_set_shows_is_left_out_by_content_and_by_pixels(
    client, importer
) -> None:
    first, second = overlapping_fields()
    test = {**drawn(), "Pre/slide.png": first}
    locked = made(client, test, locked="true", name="test")
    training = {**drawn(11), "Pre/slide.png": second, "Pro/same.png": test["Pro/1.png"]}
    found = made(client, training)
    assert found["counts"] == dict.fromkeys(map(str, LABELS), 1)
    assert found["statistics"]["left_out"] == {"leaks_into_locked_test": 2}
    faults = {fault["sha256"]: fault for fault in found["faults"]}
    assert set(faults) == {sha256(second), sha256(test["Pro/1.png"])}
    assert all(f"test ({locked['id']})" in fault["detail"] for fault in faults.values())
    leak = {"dataset_id": locked["id"], "name": "test", "images": 2}
    assert (found["leaks_into"], found["leaks_from"]) == ([leak], [])
    assert made(client, drawn(11))["version"] == found["version"]


def test_a_test_set_tells_which_earlier_sets_show_the_same(client, importer) -> None:
    first, second = overlapping_fields()
    earlier = made(client, {**drawn(), "Pre/slide.png": first}, name="earlier")
    made(client, drawn(11))
    test = {**drawn(21), "Pre/slide.png": second}
    locked = made(client, test, locked="true")
    assert locked["statistics"]["images"] == len(test)
    leak = {"dataset_id": earlier["id"], "name": "earlier", "images": 1}
    assert (locked["leaks_from"], locked["leaks_into"], locked["faults"]) == ([leak], [], [])


def test_a_set_of_nothing_but_leaks_fails_and_says_so(client, importer) -> None:
    made(client, drawn(), locked="true")
    found = ended(client, upload(client, drawn()).json["id"])
    assert (found["status"], found["error"]["code"]) == ("failed", "dataset_invalid")
    assert "locked test sets" in found["error"]["detail"]


# Reviews


def reviewed(
    client: FlaskClient, sessions: Sessions, label: str, *images: bytes, decision: str = "override"
) -> str:
    """A job of these images whose result, Benign, was reviewed."""
    job_id = post(client, *images).json["id"]
    held = take(sessions, get_job(sessions, uuid.UUID(job_id)))
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
