"""Data sets over HTTP: what is taken, and what is refused."""

from __future__ import annotations

import io
import json
import tracemalloc
import uuid
from typing import Any

import pytest

from services.api.app import create_app
from shared.db.models import DatasetRow
from shared.storage import upload_key
from tests.datasets import (
    drawn,
    upload,
    zipped,
)
from tests.integration.datasets.versions import NAME, audited, sha256, uploads
from tests.integration.jobs import count
from tests.integration.posting import authorised


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
        (
            {"data": b"x" * 1024**2, "content_type": "multipart/form-data; boundary=b"},
            400,
            "bad_request",
        ),
        (
            {
                "data": b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n",
                "content_type": "multipart/form-data; boundary=b",
            },
            400,
            "no_archive",
        ),
        ({"data": {"file": (io.BytesIO(b"x"), "x"), "lock": "1"}}, 422, "validation_failed"),
        ({"data": {"file": (io.BytesIO(b"x"), "x"), "name": "x" * 2000}}, 400, "bad_request"),
        (
            {"data": {"file": (io.BytesIO(b"x"), "x"), "locked": ["true", "false"]}},
            422,
            "validation_failed",
        ),
        (
            {"data": {"file": (io.BytesIO(b"x"), "x")}, "query_string": {"locked": "true"}},
            422,
            "validation_failed",
        ),
        (
            {
                "data": b"x",
                "content_type": "application/zip",
                "query_string": "locked=true&locked=false",
            },
            422,
            "validation_failed",
        ),
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


def test_reviews_are_asked_for_in_the_body_alone(client, sessions) -> None:
    answer = client.post("/v1/datasets?name=March", json={})
    assert (answer.status_code, answer.json["code"]) == (422, "validation_failed")
    assert answer.json["detail"] == "name: fields belong in the body, not in the query."
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
