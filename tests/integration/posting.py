"""Posts images to the API under test."""

from __future__ import annotations

import io
from typing import Any

from apiflask import APIFlask
from flask.testing import FlaskClient

from shared.auth.keys import Scope, create_key
from shared.db.session import Sessions


def authorised(app: APIFlask, sessions: Sessions, **limits: Any) -> FlaskClient:
    """A client with a new key that has every scope, and these limits."""
    _, key = create_key(sessions, "test", list(Scope), **limits)
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
    return client


def form(*images: bytes, **fields: str | list[str]) -> dict[str, object]:
    files = [(io.BytesIO(data), f"{index}.png") for index, data in enumerate(images)]
    return {"image": files, **fields}


def post(client: FlaskClient, *images: bytes, headers: dict | None = None, **fields: str):
    return client.post("/v1/jobs", data=form(*images, **fields), headers=headers)
