"""Bodies beyond what is parsed of them are refused, each with its code; none is our error."""

from __future__ import annotations

import io

import pytest

from shared.errors import BadRequestError, PayloadTooLargeError
from shared.interop.dicom.stow import MAX_PARTS, Parts
from tests.factories import smear_bytes
from tests.integration.posting import form

WORKITEMS = "/dicomweb/workitems"
NESTED = b'{"a":' * 5_000 + b"1" + b"}" * 5_000


@pytest.mark.parametrize("name", ["accession_number", "unknown"])
def test_a_field_of_a_form_that_is_too_long_is_refused(client, name: str) -> None:
    answer = client.post("/v1/jobs", data=form(smear_bytes(), **{name: "x" * 600_000}))
    assert (answer.status_code, answer.json["code"]) == (413, "payload_too_large")


def test_a_form_of_too_many_parts_is_refused(client) -> None:
    fields = {f"field-{number}": "x" for number in range(1001)}
    answer = client.post("/v1/jobs", data=form(smear_bytes(), **fields))
    assert (answer.status_code, answer.json["code"]) == (413, "payload_too_large")


def test_a_file_without_a_name_is_refused_as_one_in_another_field(client) -> None:
    body = b'--b\r\nContent-Disposition: form-data; filename="x.png"\r\n\r\nx\r\n--b--\r\n'
    answer = client.post("/v1/jobs", data=body, content_type="multipart/form-data; boundary=b")
    assert (answer.status_code, answer.json["code"]) == (400, "no_image")


@pytest.mark.parametrize(
    ("url", "media_type"),
    [
        ("/v1/orders", "application/json"),
        ("/v1/datasets", "application/json"),
        ("/v1/trainings", "application/json"),
        ("/v1/holds", "application/json"),
        (WORKITEMS, "application/dicom+json"),
    ],
)
@pytest.mark.parametrize(
    "body",
    [NESTED, b"[" * 60_000, b'{"a": 1' + b"0" * 5_000 + b"}", b"\xff\xfe", b'"\\ud800"', b"NaN"],
    ids=["nested objects", "nested lists", "digits", "no UTF-8", "half a character", "no number"],
)
def test_json_that_is_hostile_is_refused(client, url: str, media_type: str, body: bytes) -> None:
    answer = client.post(url, data=body, content_type=media_type)
    assert answer.status_code in (400, 422)
    assert answer.json["code"] in ("bad_request", "validation_failed")


@pytest.mark.parametrize("url", ["/v1/orders", "/v1/trainings", "/v1/holds", WORKITEMS])
def test_json_that_is_too_large_is_refused(client, url: str) -> None:
    body = b'{"a": "' + b"x" * 70_000 + b'"}'
    media_type = "application/dicom+json" if url == WORKITEMS else "application/json"
    answer = client.post(url, data=body, content_type=media_type)
    assert (answer.status_code, answer.json["code"]) == (413, "payload_too_large")


def test_a_multipart_body_has_no_more_parts_than_are_taken() -> None:
    body = b"\r\n--b\r\n\r\nx" * (MAX_PARTS + 1) + b"\r\n--b--"
    taken = 0
    with pytest.raises(PayloadTooLargeError):
        for _, part in Parts(io.BytesIO(body), "b"):
            part.close()
            taken += 1
    assert taken == MAX_PARTS


@pytest.mark.parametrize(
    ("body", "boundary"),
    [
        (b"--b\r\nX: " + b"x" * 20_000, "b"),
        (b"--b" + b" " * 20_000, "b"),
        (b"--b--", "b" * 71),
        (b"--b--", ""),
    ],
    ids=["headers without an end", "a line without an end", "a long boundary", "no boundary"],
)
def test_a_multipart_body_without_an_end_is_refused(body: bytes, boundary: str) -> None:
    with pytest.raises(BadRequestError):
        list(Parts(io.BytesIO(body), boundary))
