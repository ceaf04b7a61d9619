"""A query has what the OpenAPI document says, and nothing else: a misspelt filter is refused."""

from __future__ import annotations

import uuid

import pytest

from tests import openapi
from tests.factories import smear_bytes
from tests.integration.posting import post

THINGS = {"index": "0", "name": "cnn_custom", "version": "1"}


def with_a_query() -> list[str]:
    """The paths of `/v1` that are read with a query."""
    return [
        path
        for path, item in openapi.document()["paths"].items()
        if path.startswith("/v1/")
        and any(one["in"] == "query" for one in item.get("get", {}).get("parameters", ()))
    ]


def test_most_lists_have_a_query() -> None:
    assert len(with_a_query()) >= 13


@pytest.mark.parametrize("path", with_a_query())
def test_an_unknown_parameter_is_refused_by_its_name(client, path: str) -> None:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    place = path.format(**{name: THINGS.get(name, str(uuid.uuid4())) for name in names})
    answer = client.get(f"{place}?misspelt=ACC-4712")
    assert (answer.status_code, answer.json["code"]) == (422, "validation_failed")
    assert list(answer.json["errors"]["query"]) == ["misspelt"]


def test_a_misspelt_filter_gives_nobody_elses_job(client) -> None:
    post(client, smear_bytes(), accession_number="ACC-4712")
    answer = client.get("/v1/jobs?accession=ACC-4713&limit=1")
    assert answer.status_code == 422
    assert list(answer.json["errors"]["query"]) == ["accession"]
    assert client.get("/v1/jobs?accession_number=ACC-4713&limit=1").json["jobs"] == []
