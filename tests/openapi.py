"""The OpenAPI document of the API, without any server behind it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from services.api.app import create_app
from tests.dicom import settings_without_servers

_NOWHERE = {
    "database_url": "postgresql+psycopg2://nobody@localhost/none",
    "broker_url": "redis://localhost:1/0",
    "s3_endpoint": "localhost:1",
}
_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")


@cache
def document() -> dict[str, Any]:
    """The document as clients get it."""
    app = create_app(settings_without_servers(**_NOWHERE))
    found: dict[str, Any] = app.test_client().get("/openapi.json").json
    return found


def operations() -> Iterator[tuple[str, str]]:
    """Method, in capitals, and path of each call."""
    for path, item in document()["paths"].items():
        yield from ((method.upper(), path) for method in item if method in _METHODS)


def answer(method: str, path: str, status: int = 200) -> dict[str, Any]:
    """The schema of a JSON answer."""
    response = document()["paths"][path][method.lower()]["responses"][str(status)]
    schema: dict[str, Any] = response["content"]["application/json"]["schema"]
    return schema
