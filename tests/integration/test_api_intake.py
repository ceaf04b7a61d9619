"""Images go in, results come out, and what cannot be used is refused."""

from __future__ import annotations

import io
import threading
import uuid

import pytest

from services.api.app import create_app
from services.api.context import EXTENSION
from services.api.uploads import SPOOL_BYTES, SpoolingRequest
from shared.auth.keys import Scope, create_key
from shared.clock import utc_now
from tests.factories import BAD_IMAGES, smear_bytes
from tests.integration.posting import form, post


def test_a_posted_image_becomes_a_triage_result(client, runner) -> None:
    accepted = post(client, smear_bytes(), accession_number="A-7", priority="urgent")
    assert accepted.status_code == 202
    assert accepted.headers["Retry-After"]
    location = accepted.headers["Location"]
    waiting = client.get(location)
    assert (waiting.json["status"], waiting.json["accession_number"]) == ("queued", "A-7")
    assert waiting.headers["Retry-After"]

    runner.run(uuid.UUID(accepted.json["id"]), worker="w")

    done = client.get(location).json
    assert (done["status"], done["attempts"]) == ("succeeded", 1)
    result = client.get(f"{location}/result").json
    assert result == done["result"]
    assert sum(result["probabilities"].values()) == pytest.approx(1)
    assert list(result["probabilities"]) == ["Benign", "Early", "Pre", "Pro"]
    assert "not a diagnosis" in result["disclaimer"]
    assert f"{result['models'][0]['name']}@{result['models'][0]['version']}" == done["model"]
    assert "Retry-After" not in client.get(location).headers


def test_the_ensemble_may_be_asked_for_and_names_its_members(client, runner) -> None:
    accepted = post(client, smear_bytes(), model="ensemble").json
    runner.run(uuid.UUID(accepted["id"]), worker="w")
    models = client.get(accepted["links"]["result"]).json["models"]
    assert models[0]["name"] == "ensemble"
    assert len(models) >= 3


def test_a_job_of_several_fields_lists_each(client, runner) -> None:
    accepted = post(client, *(smear_bytes(seed) for seed in range(5))).json
    runner.run(uuid.UUID(accepted["id"]), worker="w")
    result = client.get(accepted["links"]["result"]).json
    assert [field["index"] for field in result["images"]] == [0, 1, 2, 3, 4]
    assert len(accepted["links"]["images"]) == 5


def test_images_come_back_as_they_were_sent(client) -> None:
    images = [smear_bytes(1), smear_bytes(2, "JPEG")]
    links = post(client, *images).json["links"]["images"]
    answers = [client.get(link) for link in links]
    assert [answer.data for answer in answers] == images
    assert [answer.content_type for answer in answers] == ["image/png", "image/jpeg"]
    assert client.get(links[0].replace("images/0", "images/2")).status_code == 404


def test_a_raw_body_is_an_image_too(client) -> None:
    accepted = client.post("/v1/jobs?priority=stat", data=smear_bytes(), content_type="image/png")
    assert accepted.status_code == 202
    assert client.get(accepted.headers["Location"]).json["priority"] == "stat"


def test_fields_of_a_form_are_not_taken_from_its_query(client) -> None:
    place = "/v1/jobs?priority=stat&accession_number=ACC-4712"
    answer = client.post(place, data=form(smear_bytes()))
    assert (answer.status_code, answer.json["code"]) == (422, "validation_failed")
    told = "priority, accession_number: fields belong in the form, not in the query."
    assert answer.json["detail"] == told
    assert client.get("/v1/jobs").json["jobs"] == []


def test_a_field_that_is_sent_twice_is_refused(client) -> None:
    twice = form(smear_bytes(), accession_number=["ACC-4712", "ACC-4713"])
    raw = {"data": smear_bytes(), "content_type": "image/png"}
    for answer in (
        client.post("/v1/jobs", data=twice),
        client.post("/v1/jobs?accession_number=ACC-4712&accession_number=ACC-4713", **raw),
        client.get("/v1/jobs?accession_number=ACC-4712&accession_number=ACC-4713"),
    ):
        assert (answer.status_code, answer.json["code"]) == (422, "validation_failed")
        assert answer.json["detail"] == "accession_number: sent more than once."
    assert client.get("/v1/jobs").json["jobs"] == []


@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_a_bad_image_is_refused_with_a_problem_document(client, kind: str) -> None:
    data, status, code = BAD_IMAGES[kind]
    answer = post(client, smear_bytes(), data)
    assert (answer.status_code, answer.json["code"]) == (status, code)
    assert answer.content_type == "application/problem+json"
    assert answer.json["status"] == status
    assert "Image 1." in answer.json["detail"]
    assert client.get("/v1/jobs").json["jobs"] == []


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"priority": "now"}, "validation_failed"),
        ({"model": "no_such"}, "unknown_model"),
        ({"model": "cnn_custom@99"}, "unknown_model"),
        ({"model": "../../etc"}, "unknown_model"),
        ({"accession_number": "x" * 129}, "validation_failed"),
        ({"accession_number": "a\x00b"}, "validation_failed"),
        ({"prioritty": "stat"}, "validation_failed"),
        ({"callback_url": "http://169.254.169.254/"}, "callback_not_allowed"),
    ],
)
def test_a_bad_field_is_refused(client, fields: dict[str, str], code: str) -> None:
    answer = post(client, smear_bytes(), **fields)
    assert (answer.status_code, answer.json["code"]) == (422, code)


def test_requests_that_hold_no_job_are_refused(client, settings) -> None:
    assert client.post("/v1/jobs", data={"x": "y"}).json["code"] == "unsupported_media_type"
    no_image = client.post("/v1/jobs", data=form(), content_type="multipart/form-data")
    assert (no_image.status_code, no_image.json["code"]) == (400, "no_image")
    stray = {"image": (io.BytesIO(smear_bytes()), "a"), "images": (io.BytesIO(smear_bytes()), "b")}
    assert client.post("/v1/jobs", data=stray).json["code"] == "no_image", "none is lost silently"
    dicom = client.post("/v1/jobs", data=b"DICM", content_type="application/dicom")
    assert (dicom.status_code, dicom.json["code"]) == (415, "unsupported_media_type")
    many = post(client, *[smear_bytes()] * (settings.max_files + 1))
    assert (many.status_code, many.json["code"]) == (413, "too_many_files")


def test_a_file_over_the_limit_is_refused(settings, sessions, storage) -> None:
    small = settings.model_copy(update={"max_file_bytes": 1000})
    client = create_app(small).test_client()
    _, key = create_key(sessions, "test", [Scope.SUBMIT])
    answer = client.post(
        "/v1/jobs", data=form(smear_bytes()), headers={"Authorization": f"Bearer {key}"}
    )
    assert (answer.status_code, answer.json["code"]) == (413, "payload_too_large")


def test_an_upload_goes_to_disk_and_not_into_memory() -> None:
    large = b"x" * (SPOOL_BYTES + 1)
    for data, on_disk in ((large, True), (b"x", False)):
        request = SpoolingRequest.from_values(
            method="POST", data={"image": (io.BytesIO(data), "i")}
        )
        stream = request.files["image"].stream
        assert stream._rolled is on_disk
        assert stream.read() == data


def test_an_idempotency_key_makes_one_job(client) -> None:
    headers = {"Idempotency-Key": "order-1"}
    first = post(client, smear_bytes(1), headers=headers)
    again = post(client, smear_bytes(1), headers=headers)
    other = post(client, smear_bytes(2), headers=headers)
    changed = post(client, smear_bytes(1), headers=headers, priority="stat")
    assert [answer.status_code for answer in (first, again, other, changed)] == [202, 200, 409, 409]
    assert first.json["id"] == again.json["id"]
    assert other.json["code"] == "idempotency_key_reused"


def test_idempotency_keys_of_two_clients_are_apart(client, sessions) -> None:
    _, other_key = create_key(sessions, "other", [Scope.SUBMIT])
    headers = {"Idempotency-Key": "order-1"}
    first = post(client, smear_bytes(1), headers=headers)
    second = post(
        client, smear_bytes(1), headers={**headers, "Authorization": f"Bearer {other_key}"}
    )
    assert second.status_code == 202
    assert first.json["id"] != second.json["id"]


def test_waiting_answers_as_soon_as_the_job_ends(client, runner) -> None:
    accepted = post(client, smear_bytes()).json
    runner.run(uuid.UUID(accepted["id"]), worker="w")
    started = utc_now()
    assert client.get(f"{accepted['links']['self']}?wait=30").json["status"] == "succeeded"
    assert (utc_now() - started).total_seconds() < 10
    assert client.get(f"{accepted['links']['self']}?wait=31").status_code == 422


def test_where_too_many_wait_already_the_answer_comes_at_once(client) -> None:
    link = post(client, smear_bytes()).json["links"]["self"]
    headers = {"Authorization": client.environ_base["HTTP_AUTHORIZATION"]}
    places = client.application.extensions[EXTENSION].waiting_places
    while places.acquire(blocking=False):
        pass
    other = client.application.test_client()
    canceller = threading.Timer(5, lambda: other.delete(link, headers=headers))
    canceller.start()
    assert client.get(f"{link}?wait=20").json["status"] == "queued", "it did not wait"
    places.release()
    assert client.get(f"{link}?wait=20").json["status"] == "cancelled", "it waited"
    canceller.join()


def test_an_unchanged_job_is_not_sent_twice(client) -> None:
    location = post(client, smear_bytes()).headers["Location"]
    etag = client.get(location).headers["ETag"]
    assert client.get(location, headers={"If-None-Match": etag}).status_code == 304
    client.delete(location)
    assert client.get(location, headers={"If-None-Match": etag}).status_code == 200


def test_a_queued_job_is_cancelled_and_an_ended_one_is_not(client, runner) -> None:
    accepted = post(client, smear_bytes())
    location = accepted.headers["Location"]
    assert client.delete(location).json["status"] == "cancelled"
    again = client.delete(location)
    assert (again.status_code, again.json["code"]) == (409, "conflict")
    runner.run(uuid.UUID(accepted.json["id"]), worker="w")
    assert client.get(location).json["status"] == "cancelled"
    assert client.get(f"{location}/result").json["code"] == "no_result"


def test_a_job_whose_object_vanished_fails_with_its_code(client, runner, storage) -> None:
    accepted = post(client, smear_bytes()).json
    storage.delete(f"jobs/{accepted['id']}/images/0")
    runner.run(uuid.UUID(accepted["id"]), worker="w")
    job = client.get(accepted["links"]["self"]).json
    assert (job["status"], job["error"]["code"]) == ("failed", "object_missing")


def test_lists_are_filtered_and_paged(client) -> None:
    for number in range(3):
        post(client, smear_bytes(), accession_number=f"A-{number}")
    page = client.get("/v1/jobs?limit=2").json
    assert [job["accession_number"] for job in page["jobs"]] == ["A-2", "A-1"]
    rest = client.get("/v1/jobs", query_string={"limit": 2, "cursor": page["next_cursor"]}).json
    assert [job["accession_number"] for job in rest["jobs"]] == ["A-0"]
    assert rest["next_cursor"] is None
    assert len(client.get("/v1/jobs?accession_number=A-1").json["jobs"]) == 1
    for bad in (
        "cursor=xyz",
        "status=done",
        "limit=0",
        "submitted_from=yesterday",
        "submitted_to=2026-01-01T00:00:00",
    ):
        assert client.get(f"/v1/jobs?{bad}").status_code in (400, 422), bad
