"""The client of the service: what it repeats, what it raises, and what it reads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import pytest
from werkzeug import Request, Response
from werkzeug.serving import make_server

from shared.client import Client, NotFinishedError, RefusedError, UnreadableAnswerError, answers
from shared.client.datasets import Dataset, DatasetList
from shared.client.explanations import Explanation
from shared.client.jobs import Job, JobAccepted, JobPage
from shared.client.models import Agreement, Aliases, Gate, ModelList
from shared.client.orders import Order, OrderPage
from shared.client.results import Result, Review, ReviewList
from shared.client.retention import Erasure, ErasureList, Hold, HoldList
from shared.client.trainings import Training, TrainingEvent, TrainingList
from tests import openapi
from tests.canaries import FILE_NAME

ANSWERS: dict[type[answers.Answer], tuple[str, str, int]] = {
    JobAccepted: ("POST", "/v1/jobs", 202),
    Job: ("GET", "/v1/jobs/{job_id}", 200),
    JobPage: ("GET", "/v1/jobs", 200),
    Result: ("GET", "/v1/jobs/{job_id}/result", 200),
    Review: ("POST", "/v1/jobs/{job_id}/review", 201),
    ReviewList: ("GET", "/v1/jobs/{job_id}/reviews", 200),
    Explanation: ("GET", "/v1/jobs/{job_id}/images/{index}/explanation", 202),
    ModelList: ("GET", "/v1/models", 200),
    Aliases: ("PUT", "/v1/models/{name}/aliases/{alias}", 200),
    Gate: ("GET", "/v1/gates/{gate_id}", 200),
    Agreement: ("GET", "/v1/models/{name}/versions/{version}/shadow", 200),
    Dataset: ("GET", "/v1/datasets/{dataset_id}", 200),
    DatasetList: ("GET", "/v1/datasets", 200),
    Training: ("GET", "/v1/trainings/{run_id}", 200),
    TrainingList: ("GET", "/v1/trainings", 200),
    Order: ("POST", "/v1/orders", 201),
    OrderPage: ("GET", "/v1/orders", 200),
    Hold: ("POST", "/v1/holds", 201),
    HoldList: ("GET", "/v1/holds", 200),
    Erasure: ("GET", "/v1/erasures/{erasure_id}", 200),
    ErasureList: ("GET", "/v1/erasures", 200),
}
"""What the client reads, and where the service says it."""

ACCEPTED = {
    "id": "j",
    "status": "queued",
    "links": {"self": "/s", "result": "/r", "images": [], "explanations": []},
}
ALIASES = {"aliases": {"champion": "ensemble@1"}, "canary_percent": 0}
BUSY = {"title": "Busy.", "status": 503, "code": "queue_full", "detail": "100 jobs wait."}


class Service:
    """A server that gives its answers one after the other: a status, a body and headers."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, Any, dict[str, str]]] = []
        self.calls: list[tuple[str, str, bytes]] = []
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> Any:
        request = Request(environ)
        uploaded = b"".join(file.read() for file in request.files.getlist("image"))
        self.calls.append((request.method, request.path, uploaded or request.get_data()))
        status, body, headers = self.answers.pop(0)
        if isinstance(body, str):
            response = Response(body, status=status, headers=headers)
        else:
            text = httpx.Response(status, json=body).text
            response = Response(text, status=status, headers=headers, mimetype="application/json")
        return response(environ, start)

    def is_busy(self, times: int = 1, status: int = 503, retry_after: str | None = "0") -> None:
        headers = {} if retry_after is None else {"Retry-After": retry_after}
        self.answers += [(status, BUSY, headers)] * times


@pytest.fixture
def service() -> Iterator[Service]:
    running = Service()
    yield running
    running.close()


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with Client(service.url, "a-key") as opened:
        yield opened


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / FILE_NAME
    path.write_bytes(b"pixels")
    return path


@pytest.mark.parametrize("status", [429, 503])
def test_what_is_safe_to_repeat_is_sent_again_while_the_service_is_busy(
    service: Service, client: Client, status: int
) -> None:
    service.is_busy(2, status)
    service.answers.append((200, ALIASES, {}))
    assert client.set_alias("champion", "ensemble", 1).aliases == ALIASES["aliases"]
    assert len(service.calls) == 3


def test_a_post_is_repeated_with_an_idempotency_key_and_has_the_same_images(
    service: Service, client: Client, image: Path
) -> None:
    service.is_busy()
    service.answers.append((202, ACCEPTED, {}))
    assert client.submit([image], idempotency_key="A-1").id == "j"
    assert service.calls == [("POST", "/v1/jobs", b"pixels")] * 2


def test_a_post_without_an_idempotency_key_is_not_repeated(
    service: Service, client: Client, image: Path
) -> None:
    service.is_busy()
    with pytest.raises(RefusedError):
        client.submit([image])
    assert len(service.calls) == 1


@pytest.mark.parametrize("retry_after", [None, "60", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_what_says_no_near_moment_is_not_repeated(
    service: Service, client: Client, retry_after: str | None
) -> None:
    service.is_busy(retry_after=retry_after)
    with pytest.raises(RefusedError):
        client.models()
    assert len(service.calls) == 1


def test_without_patience_nothing_is_repeated(service: Service) -> None:
    service.is_busy(retry_after="1")
    with Client(service.url, "a-key", patience=0) as hasty, pytest.raises(RefusedError):
        hasty.models()
    assert len(service.calls) == 1


@pytest.mark.parametrize("status", [400, 404, 409, 500, 502])
def test_other_refusals_are_not_repeated(service: Service, client: Client, status: int) -> None:
    service.answers.append((status, BUSY, {"Retry-After": "0"}))
    with pytest.raises(RefusedError):
        client.models()
    assert len(service.calls) == 1


def test_a_refusal_has_all_that_the_service_says(service: Service, client: Client) -> None:
    headers = {"X-Request-Id": "r-17"}
    problem = {"title": "There is no such thing here.", "code": "not_found", "status": 404}
    service.answers.append((404, problem, headers))
    with pytest.raises(RefusedError, match="There is no such thing here") as refused:
        client.job("j")
    error = refused.value
    assert (error.code, error.title) == ("not_found", "There is no such thing here.")
    assert (error.status, error.detail, error.request_id) == (HTTPStatus.NOT_FOUND, None, "r-17")


@pytest.mark.parametrize("body", ["<html>Bad gateway</html>", "[]", '"words"', "null"])
def test_a_page_of_a_proxy_is_a_refusal_too(service: Service, client: Client, body: str) -> None:
    service.answers.append((502, body, {}))
    with pytest.raises(RefusedError, match="502") as refused:
        client.models()
    assert refused.value.code == "internal_error"


@pytest.mark.parametrize("body", ["<html>Sign in</html>", {"aliases": 3}])
def test_an_answer_of_something_else_is_told_as_such(
    service: Service, client: Client, body: object
) -> None:
    service.answers.append((200, body, {}))
    with pytest.raises(UnreadableAnswerError, match="200"):
        client.models()


def test_a_service_that_is_not_there_is_an_error_of_its_own() -> None:
    with Client("http://127.0.0.1:1", "a-key") as nowhere, pytest.raises(httpx.TransportError):
        nowhere.models()


def test_waiting_ends_in_time(client: Client) -> None:
    with pytest.raises(NotFinishedError):
        client.wait("j", timeout=0)


def test_what_a_newer_service_says_besides_is_passed_over() -> None:
    read = JobAccepted.model_validate({**ACCEPTED, "colour": "blue"})
    assert read.id == "j"
    assert not hasattr(read, "colour")


def shape(schema: dict[str, Any], definitions: dict[str, Any]) -> Any:
    """What of a schema decides how an answer is read: names, types, and whether it may be null."""
    if "$ref" in schema:
        return shape(definitions[schema["$ref"].rsplit("/", 1)[1]], definitions)
    if "anyOf" in schema:
        return frozenset(repr(shape(one, definitions)) for one in schema["anyOf"])
    if "properties" in schema:
        return {name: shape(one, definitions) for name, one in schema["properties"].items()}
    if "items" in schema:
        return [shape(schema["items"], definitions)]
    if isinstance(schema.get("additionalProperties"), dict):
        return ("map", shape(schema["additionalProperties"], definitions))
    return schema["type"], schema.get("format")


@pytest.mark.parametrize("kind", ANSWERS, ids=lambda kind: kind.__name__)
def test_client_and_openapi_document_name_the_same_fields(kind: type[answers.Answer]) -> None:
    definitions = openapi.document()["components"]["schemas"]
    own = kind.model_json_schema(mode="serialization")
    assert shape(own, own.get("$defs", {})) == shape(openapi.answer(*ANSWERS[kind]), definitions)


def test_no_answer_is_left_out_of_the_comparison() -> None:
    within = {
        name
        for kind in ANSWERS
        for name in (kind.__name__, *kind.model_json_schema().get("$defs", {}))
    }
    # An event has fields of its own kind; bases are compared with what is made of them.
    apart = {TrainingEvent.__name__}
    assert {kind.__name__ for kind in all_answers(answers.Answer)} - within == apart


def all_answers(base: type[answers.Answer]) -> Iterator[type[answers.Answer]]:
    for kind in base.__subclasses__():
        yield kind
        yield from all_answers(kind)
