"""Posts images to the API under test."""

from __future__ import annotations

import io

from flask.testing import FlaskClient


def form(*images: bytes, **fields: str) -> dict[str, object]:
    files = [(io.BytesIO(data), f"{index}.png") for index, data in enumerate(images)]
    return {"image": files, **fields}


def post(client: FlaskClient, *images: bytes, headers: dict | None = None, **fields: str):
    return client.post("/v1/jobs", data=form(*images, **fields), headers=headers)
