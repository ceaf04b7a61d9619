"""What schemathesis needs to speak to this API: DICOM in a STOW-RS request, and things that exist.

`HEMOTRIAGE_TEST_THINGS` holds, as JSON, path parameters of things that exist: every second call
that would name an unknown one names these.
"""

from __future__ import annotations

import json
import os
import random
import uuid
from typing import Any

import schemathesis

THINGS = "HEMOTRIAGE_TEST_THINGS"

_BOUNDARY = "boundary-of-the-test"
_PART = f"--{_BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()

_things: dict[str, Any] = json.loads(os.environ.get(THINGS, "{}"))
_chance = random.Random(1)


@schemathesis.serializer("multipart/related")
def related(ctx: Any, value: Any) -> dict[str, Any]:
    """A request of one part."""
    content = value if isinstance(value, bytes) else str(value).encode()
    told = f'multipart/related; type="application/dicom"; boundary={_BOUNDARY}'
    data = _PART + content + f"\r\n--{_BOUNDARY}--\r\n".encode()
    return {"data": data, "headers": {"Content-Type": told}}


@schemathesis.hook
def map_path_parameters(ctx: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    """Name things that exist."""
    if path_parameters and _things and _chance.random() < 0.5:
        known = {name: _things.get(name) for name in path_parameters}
        return {
            name: known[name] if _alike(value, known[name]) else value
            for name, value in path_parameters.items()
        }
    return path_parameters


def _alike(value: Any, known: Any) -> bool:
    """Whether one may stand for the other: what is wrong on purpose has to stay wrong."""
    if type(value) is not type(known) or not isinstance(value, str):
        return type(value) is type(known)
    return all(_is_uuid(text) for text in (value, known)) or not _is_uuid(known)


def _is_uuid(text: str) -> bool:
    try:
        return bool(uuid.UUID(text))
    except ValueError:
        return False
