"""The API against the real servers, within this process."""

from __future__ import annotations

import datetime as dt
import io
import json
import re
import threading
import uuid
from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient
from pydantic import SecretStr
from sqlalchemy import text

from services.api.app import create_app
from services.api.context import EXTENSION
from services.api.uploads import SPOOL_BYTES, SpoolingRequest
from services.worker.batcher import Batcher
from services.worker.inference import JobRunner
from services.worker.runtime import Runtime
from shared.auth.keys import Scope, create_key, revoke_key
from shared.clock import utc_now
from shared.db.session import Sessions
from shared.settings import Settings
from shared.storage.s3 import S3Store
from tests.factories import BAD_IMAGES, smear_bytes


@pytest.fixture
def client(settings: Settings, sessions: Sessions, storage: S3Store) -> FlaskClient:
    """A client whose key has every scope."""
    app = create_app(settings)
    _, key = create_key(sessions, "test", list(Scope))
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
    return client


@pytest.fixture(scope="module")
def batcher() -> Iterator[Batcher]:
    running = Batcher(batch_size=8)
    yield running
    running.close()


@pytest.fixture
def runner(settings: Settings, sessions: Sessions, storage: S3Store, batcher: Batcher) -> JobRunner:
    """What a worker runs jobs with."""
    return JobRunner(settings, sessions, storage, Runtime(settings), batcher)


def form(*images: bytes, **fields: str) -> dict[str, object]:
    files = [(io.BytesIO(data), f"{index}.png") for index, data in enumerate(images)]
    return {"image": files, **fields}


def post(client: FlaskClient, *images: bytes, headers: dict | None = None, **fields: str):
    return client.post("/v1/jobs", data=form(*images, **fields), headers=headers)


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
    assert result["models"][0]["name"] == "cnn_custom"
    assert "Retry-After" not in client.get(location).headers


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
        ({"model": "ensemble"}, "unknown_model"),
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


def test_the_result_is_json_alone_so_far(client, runner) -> None:
    accepted = post(client, smear_bytes()).json
    runner.run(uuid.UUID(accepted["id"]), worker="w")
    answer = client.get(accepted["links"]["result"], headers={"Accept": "application/dicom"})
    assert (answer.status_code, answer.json["code"]) == (406, "not_acceptable")


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


@pytest.mark.parametrize(
    "path", [f"/v1/jobs/{uuid.uuid4()}", "/v1/jobs/1", "/v1/jobs/x/result", "/nowhere"]
)
def test_what_is_not_there_is_a_404_problem(client, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json["code"]) == (404, "not_found")
    assert answer.content_type == "application/problem+json"


def test_a_wrong_method_is_a_405_problem(client) -> None:
    answer = client.put("/v1/jobs")
    assert (answer.status_code, answer.json["code"]) == (405, "method_not_allowed")


PROTECTED = [
    ("POST", "/v1/jobs", Scope.SUBMIT),
    ("DELETE", f"/v1/jobs/{uuid.uuid4()}", Scope.SUBMIT),
    ("GET", "/v1/jobs", Scope.READ),
    ("GET", f"/v1/jobs/{uuid.uuid4()}", Scope.READ),
    ("GET", f"/v1/jobs/{uuid.uuid4()}/result", Scope.READ),
    ("GET", f"/v1/jobs/{uuid.uuid4()}/images/0", Scope.READ),
    ("GET", "/v1/models", Scope.READ),
    ("GET", "/v1/models/cnn_custom/versions/1", Scope.READ),
]


@pytest.mark.parametrize(("method", "path", "scope"), PROTECTED)
def test_a_call_needs_a_key_with_its_scope(
    client, sessions, method: str, path: str, scope: Scope
) -> None:
    _, without = create_key(sessions, "without", set(Scope) - {scope})
    _, expired = create_key(
        sessions, "expired", list(Scope), expires_at=utc_now() - dt.timedelta(seconds=1)
    )
    revoked, revoked_text = create_key(sessions, "revoked", list(Scope))
    revoke_key(sessions, revoked.id)
    forged = without[:-4] + "AAAA"
    refused = {
        f"Bearer {without}": (403, "forbidden"),
        f"Bearer {expired}": (401, "key_expired"),
        f"Bearer {revoked_text}": (401, "key_revoked"),
        f"Bearer {forged}": (401, "unauthorized"),
        "Bearer nonsense": (401, "unauthorized"),
        "Basic dTpw": (401, "unauthorized"),
        "": (401, "unauthorized"),
    }
    for header, expected in refused.items():
        answer = client.open(path, method=method, headers={"Authorization": header})
        assert (answer.status_code, answer.json["code"]) == expected, header
    allowed = client.open(path, method=method)
    assert allowed.status_code not in (401, 403)


def test_every_route_but_health_and_documentation_is_protected(client) -> None:
    open_routes = {"/", "/healthz", "/readyz", "/openapi.json"}
    paths = client.get("/openapi.json").json["paths"]
    documented = {(path, method) for path, item in paths.items() for method in item}
    protected = {(path, method) for path, method in documented if path not in open_routes}
    assert len(protected) == len(PROTECTED)


def test_keys_are_stored_as_hashes(sessions, database) -> None:
    _, key = create_key(sessions, "k", [Scope.READ])
    with database.connect() as connection:
        row = connection.execute(text("SELECT * FROM api_keys")).one()
    assert all(key.split("_")[2] not in str(value) for value in row)


def test_health_and_readiness(client, settings) -> None:
    assert client.get("/healthz").json == {"status": "ok"}
    ready = client.get("/readyz")
    assert ready.status_code == 200
    assert set(ready.json["checks"]) == {"database", "broker", "object_store", "models"}
    broken = settings.model_copy(update={"s3_endpoint": "127.0.0.1:9"})
    answer = create_app(broken).test_client().get("/readyz")
    assert answer.status_code == 503
    assert answer.json["checks"]["object_store"] == "storage_unavailable"
    assert answer.json["checks"]["database"] == "ok"


def test_a_database_that_is_down_is_a_503_at_once(settings) -> None:
    url = settings.database_url.get_secret_value()
    port = url.rsplit(":", 1)[1].split("/")[0]
    broken = settings.model_copy(update={"database_url": SecretStr(url.replace(port, "9"))})
    answer = (
        create_app(broken).test_client().get("/v1/jobs", headers={"Authorization": "Bearer ht_a_b"})
    )
    assert (answer.status_code, answer.json["code"]) == (503, "database_unavailable")
    assert answer.headers["Retry-After"]


def test_the_document_describes_the_upload_and_the_errors(client) -> None:
    document = client.get("/openapi.json").json
    post_operation = document["paths"]["/v1/jobs"]["post"]
    form_schema = post_operation["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert {"image", "priority", "model", "accession_number"} <= set(form_schema["properties"])
    assert "application/problem+json" in post_operation["responses"]["415"]["content"]
    get_operation = document["paths"]["/v1/jobs/{job_id}"]["get"]
    assert "application/problem+json" in get_operation["responses"]["404"]["content"]
    assert post_operation["security"] == [{"bearer": []}]
    assert "/" not in document["paths"]
    references = re.findall(r"#/components/schemas/([\w.]+)", json.dumps(document))
    assert set(references) <= set(document["components"]["schemas"])


def test_the_documentation_page_asks_no_other_host(client) -> None:
    page = client.get("/docs/").text
    assert "swagger-ui" in page
    assert "https://" not in page.replace("https://github.com/swagger-api", "")


def test_models_are_listed_with_their_cards(client) -> None:
    listed = client.get("/v1/models").json
    assert listed["aliases"]["champion"] == "cnn_custom@1"
    card = client.get("/v1/models/cnn_custom/versions/1").json
    assert card["parameters"] == 127_300
    unknown = client.get("/v1/models/cnn_custom/versions/99")
    assert (unknown.status_code, unknown.json["code"]) == (404, "not_found")
