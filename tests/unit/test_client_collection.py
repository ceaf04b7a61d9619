"""The collection of requests has every call of the API, and no other."""

from __future__ import annotations

import json
from collections import Counter
from urllib.parse import parse_qs, urlsplit

import pytest

from tests import http_collection, openapi
from tests.http_collection import Request

REQUESTS = http_collection.requests()


def test_each_operation_is_in_the_collection_exactly_once() -> None:
    written = Counter(request.operation for request in REQUESTS)
    known = Counter(openapi.operations())
    assert {"missing": known - written, "too many": written - known} == {
        "missing": Counter(),
        "too many": Counter(),
    }


@pytest.mark.parametrize("written", REQUESTS, ids=lambda request: request.title)
def test_a_request_has_values_for_its_variables_and_a_body_of_its_type(written: Request) -> None:
    values = http_collection.variables()
    assert "{" not in http_collection.filled(written.target, values)
    kind = written.headers.get("Content-Type", "")
    assert bool(kind) == bool(written.body)
    if kind.endswith("json"):
        assert json.loads(http_collection.filled(written.body, values))


@pytest.mark.parametrize("written", REQUESTS, ids=lambda request: request.title)
def test_a_query_has_known_parameters_alone(written: Request) -> None:
    method, path = written.operation
    operation = openapi.document()["paths"][path][method.lower()]
    known = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"}
    asked = set(parse_qs(urlsplit(written.target).query))
    assert method != "GET" or asked <= known


def test_all_calls_but_those_of_monitoring_have_the_key() -> None:
    public = {path for _, path in openapi.operations() if path.count("/") == 1}
    for request in REQUESTS:
        has_key = request.headers.get("Authorization") == "Bearer {{key}}"
        assert has_key == (request.operation[1] not in public), request.title
