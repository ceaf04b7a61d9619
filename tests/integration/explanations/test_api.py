"""Explanations by HTTP."""

from __future__ import annotations

import hashlib
import io
import threading
import time
import uuid
from collections.abc import Callable

import pytest
from PIL import Image
from sqlalchemy import text

from services.api.app import create_app
from services.api.context import EXTENSION
from services.worker.explain import Stored
from shared.auth.keys import Scope, create_key
from shared.db.models import ExplanationRow
from shared.errors import CorruptImageError
from shared.explanations.states import ExplanationClaim
from shared.storage import explanation_key, image_key
from shared.storage.s3 import S3Store
from tests.factories import smear_bytes
from tests.integration.explanations.asking import set_all, wanted
from tests.integration.jobs import count
from tests.integration.posting import authorised, post

JSON = {"Accept": "application/json"}


def lose_picture(storage: S3Store, address: str, tag: str) -> None:
    key = explanation_key(address.split("/")[3], 1, "gradcam", tag.strip('"'))
    storage.get(key)
    storage.delete(key)


def test_the_picture_is_made_at_the_first_call_and_kept(
    client, storage, address, explaining, explain
) -> None:
    explaining(explain)
    answer = client.get(f"{address}?wait=30")
    assert (answer.status_code, answer.content_type) == (200, "image/png")
    picture = Image.open(io.BytesIO(answer.data))
    assert picture.format == "PNG"
    assert answer.headers["ETag"] == f'"{hashlib.sha256(answer.data).hexdigest()}"'
    assert answer.headers["Cache-Control"] == "private, no-cache"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    job_id = address.split("/")[3]
    sha256 = hashlib.sha256(answer.data).hexdigest()
    assert storage.get(explanation_key(job_id, 1, "gradcam", sha256)) == answer.data

    said = client.get(address, headers=JSON)
    assert said.headers["Cache-Control"] == "private, no-cache"
    figures = said.json
    assert (figures["job_id"], figures["image"]) == (job_id, 1)
    assert (figures["status"], figures["progress"]) == ("succeeded", 1)
    document = figures["document"]
    result = client.get(f"/v1/jobs/{job_id}/result").json["images"][1]
    assert document["label"] == result["prediction"]
    assert (document["model"], document["precision"]) == ("cnn_custom@1", "f32")
    assert (document["width"], document["height"]) == picture.size
    assert client.get(figures["links"]["png"]).data == answer.data


def test_a_picture_that_the_client_has_is_not_read_from_the_store(
    client, storage, address, explaining, explain
) -> None:
    explaining(explain)
    tag = client.get(f"{address}?wait=30").headers["ETag"]
    lose_picture(storage, address, tag)
    again = client.get(address, headers={"If-None-Match": tag})
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", tag)
    assert again.headers["Cache-Control"] == "private, no-cache"


def test_a_picture_that_the_store_lost_is_made_again_by_the_call_that_misses_it(
    client, storage, address, explaining, explain
) -> None:
    explaining(explain)
    first = client.get(f"{address}?wait=30")
    lose_picture(storage, address, first.headers["ETag"])
    again = client.get(f"{address}?wait=30")
    assert (again.status_code, again.data) == (200, first.data)
    lose_picture(storage, address, first.headers["ETag"])
    assert client.get(f"{address}?wait=0").status_code == 202


def test_who_waits_is_known_to_the_queue(client, sessions, address) -> None:
    client.get(f"{address}?wait=0")
    assert wanted(sessions) is None
    client.get(f"{address}?wait=0.1")
    assert wanted(sessions) is not None


def test_a_full_queue_refuses_new_explanations_for_a_while(settings, sessions, address) -> None:
    few = settings.model_copy(update={"max_queued_explanations": 1})
    client = authorised(create_app(few), sessions)
    assert client.get(f"{address}?wait=0").status_code == 202
    other = address.replace("images/1", "images/0")
    refused = client.get(f"{other}?wait=0")
    assert (refused.status_code, refused.json["code"]) == (503, "queue_full")
    assert int(refused.headers["Retry-After"]) > 0
    assert client.get(f"{address}?wait=0").status_code == 202, "it is known"
    assert client.get(f"{other}?wait=0&method=lime").status_code == 202, "a queue a method"
    assert count(sessions, ExplanationRow) == 2


def test_open_explanations_are_counted_at_metrics(client, sessions, address) -> None:
    client.get(f"{address}?wait=0")
    set_all(sessions, "requested_at = now() - interval '1 hour'")
    shown = client.get("/metrics").text
    of = 'method="{}",status="{}"'.format
    assert f"hemotriage_explanations_open{{{of('gradcam', 'queued')}}} 1.0" in shown
    assert f"hemotriage_explanations_open{{{of('gradcam', 'running')}}} 0.0" in shown
    assert f"hemotriage_explanations_open{{{of('lime', 'queued')}}} 0.0" in shown
    assert f"hemotriage_explanations_oldest_seconds{{{of('gradcam', 'queued')}}} 36" in shown
    assert f"hemotriage_explanations_oldest_seconds{{{of('lime', 'queued')}}} 0.0" in shown


def test_lime_answers_at_once_and_tells_how_far_it_is(client, address, explaining) -> None:
    half = threading.Event()
    finish = threading.Event()

    def make(held: ExplanationClaim, progress: Callable[[float], None]) -> Stored:
        progress(0.5)
        half.set()
        assert finish.wait(60)
        return Stored({"method": "lime"}, "a" * 64)

    explainer = explaining(make)
    began = time.monotonic()
    answer = client.get(f"{address}?method=lime")
    assert time.monotonic() - began < 10, "it does not wait unless it is told to"
    assert (answer.status_code, answer.content_type) == (202, "application/json")
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.json["method"] == "lime"
    assert (answer.json["document"], answer.json["finished_at"]) == (None, None)
    assert half.wait(30)
    explainer.beat()
    running = client.get(f"{address}?method=lime").json
    assert (running["status"], running["progress"]) == ("running", 0.5)
    finish.set()
    done = client.get(f"{address}?method=lime&wait=30", headers=JSON)
    assert (done.status_code, done.json["status"]) == (200, "succeeded")


def test_a_failed_explanation_says_why(client, address, explaining) -> None:
    def make(held: ExplanationClaim, progress: object) -> Stored:
        raise CorruptImageError("odd bytes")

    explaining(make)
    for _ in range(2):
        answer = client.get(f"{address}?wait=30")
        assert (answer.status_code, answer.json["code"]) == (409, "explanation_failed")
        assert "corrupt_image" in answer.json["detail"]
        assert answer.content_type == "application/problem+json"
        assert answer.headers["Retry-After"] == "60"


def test_a_failure_that_was_mended_is_made_for_who_asks_a_while_later(
    client, sessions, storage, *, address, explaining, explain
) -> None:
    key = image_key(address.split("/")[3], 1)
    image = storage.get(key)
    storage.delete(key)
    explaining(explain)
    failed = client.get(f"{address}?wait=30")
    assert failed.status_code == 409
    assert "object_missing" in failed.json["detail"]
    storage.put(key, io.BytesIO(image), len(image), "image/png")
    assert client.get(f"{address}?wait=30").status_code == 409, "not yet"
    set_all(sessions, "finished_at = finished_at - interval '61 s'")
    assert client.get(f"{address}?wait=30").status_code == 200


def test_a_result_that_names_no_class_of_the_image_cannot_be_explained(
    client, sessions, address, explaining, explain
) -> None:
    with sessions.begin() as session:
        session.execute(text("UPDATE results SET document = '{}'"))
    explaining(explain)
    answer = client.get(f"{address}?wait=30")
    assert (answer.status_code, answer.json["code"]) == (409, "explanation_failed")
    assert answer.json["detail"].startswith("no_prediction")


def test_what_is_not_there_or_has_no_result_is_refused(client, sessions) -> None:
    waiting = post(client, smear_bytes(), model="cnn_custom@1").json["links"]["explanations"][0]
    absent = f"/v1/jobs/{uuid.uuid4()}/images/0/explanation"
    for link, status, code in (
        (waiting, 409, "no_result"),
        (waiting.replace("images/0", "images/1"), 404, "not_found"),
        (waiting.replace("images/0", f"images/{10**20}"), 404, "not_found"),
        (absent, 404, "not_found"),
    ):
        answer = client.get(link)
        assert (answer.status_code, answer.json["code"]) == (status, code), link
    assert count(sessions, ExplanationRow) == 0


@pytest.mark.parametrize("query", ["method=saliency", "method=", "wait=31", "wait=-1", "wait=soon"])
def test_a_query_that_says_nothing_clear_is_refused(client, address, query: str) -> None:
    answer = client.get(f"{address}?{query}")
    assert (answer.status_code, answer.json["code"]) == (422, "validation_failed")


def test_another_form_than_the_two_is_refused_before_anything_is_asked(
    client, sessions, address
) -> None:
    answer = client.get(address, headers={"Accept": "application/dicom"})
    assert (answer.status_code, answer.json["code"]) == (406, "not_acceptable")
    assert count(sessions, ExplanationRow) == 0
    for accept in ("*/*", "image/*", "text/html, application/json;q=0.5"):
        assert client.get(f"{address}?wait=0", headers={"Accept": accept}).status_code == 202


def test_explanations_need_the_scope_to_read(client, sessions, address) -> None:
    _, key = create_key(sessions, "writer", set(Scope) - {Scope.READ})
    answer = client.get(address, headers={"Authorization": f"Bearer {key}"})
    assert (answer.status_code, answer.json["code"]) == (403, "forbidden")


def test_where_too_many_wait_already_nobody_waits(settings, sessions, address) -> None:
    app = create_app(settings)
    crowded = authorised(app, sessions)
    places = app.extensions[EXTENSION].waiting_places
    while places.acquire(blocking=False):
        pass
    began = time.monotonic()
    assert crowded.get(f"{address}?wait=30").status_code == 202
    assert time.monotonic() - began < 20


def test_the_document_describes_the_explanation(client) -> None:
    spec = client.get("/openapi.json").json
    path = "/v1/jobs/{job_id}/images/{index}/explanation"
    operation = spec["paths"][path]["get"]
    assert set(operation["responses"]["200"]["content"]) == {"image/png", "application/json"}
    assert {"202", "304", "401", "403", "404", "406", "409", "422"} <= set(operation["responses"])
    parameters = {one["name"]: one for one in operation["parameters"]}
    assert {"method", "wait"} <= set(parameters)
    assert "ExplanationOut" in spec["components"]["schemas"]
    problem = operation["responses"]["409"]["content"]["application/problem+json"]
    assert problem["schema"]["$ref"].endswith("/Problem")
