"""Reads `docs/examples/hemotriage.http`: requests for the REST clients of VS Code and JetBrains."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.settings import PROJECT_ROOT

COLLECTION = PROJECT_ROOT / "docs" / "examples" / "hemotriage.http"


@dataclass(frozen=True)
class Request:
    """A request as it is written, its variables as `{{name}}`."""

    title: str
    method: str
    target: str
    headers: dict[str, str]
    body: str

    @property
    def operation(self) -> tuple[str, str]:
        """Method and path as the OpenAPI document has them."""
        path = self.target.removeprefix("{{address}}").partition("?")[0]
        return self.method, path.replace("{{", "{").replace("}}", "}")


def variables() -> dict[str, str]:
    """The variables at the head of the collection."""
    return dict(re.findall(r"^@(\w+) = (.*)$", COLLECTION.read_text(), re.MULTILINE))


def requests() -> list[Request]:
    """Its requests, in order."""
    _, *parts = re.split(r"^### ", COLLECTION.read_text(), flags=re.MULTILINE)
    return [_request(part) for part in parts]


def filled(text: str, values: Mapping[str, str]) -> str:
    """A text with values in the place of its variables."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], text)


def content_of(
    request: Request, values: Mapping[str, str], files: Mapping[str, bytes]
) -> dict[str, Any]:
    """What `httpx` is to send, without waiting for an end; named files are put into the body."""
    headers = {name: filled(value, values) for name, value in request.headers.items()}
    lines = (
        files[line.removeprefix("< ")] if line.startswith("< ") else line.encode()
        for line in filled(request.body, values).splitlines()
    )
    # A form has CRLF (RFC 2046, section 5.1.1), to which REST clients change the file's own.
    ending = b"\r\n" if headers.get("Content-Type", "").startswith("multipart/") else b"\n"
    return {
        "method": request.method,
        "url": filled(request.target, values).replace("wait=20", "wait=0"),
        "headers": headers,
        "content": ending.join(lines),
    }


def _request(part: str) -> Request:
    head, _, body = part.strip().partition("\n\n")
    title, line, *headers = head.splitlines()
    method, target = line.split()
    return Request(title, method, target, dict(one.split(": ", 1) for one in headers), body)
