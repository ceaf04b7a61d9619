"""Closed-loop clients over HTTP: each posts an image, waits for its result, and posts the next."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

import numpy as np
import urllib3

_WAIT_SECONDS = 20
_TIMEOUT_SECONDS = 120

Ask = Callable[[http.client.HTTPConnection, bytes], None]
"""One request of a closed loop, from the image to its result."""


@dataclass
class Loop:
    """What the clients of one run saw."""

    seconds: float = 0.0
    waits: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Results a second."""
        return len(self.waits) / self.seconds

    def percentile(self, share: float) -> float:
        """Milliseconds from posting an image to having its result."""
        return float(np.percentile(self.waits, share)) * 1000


def closed_loop(url: str, ask: Ask, images: Sequence[bytes], *, clients: int, count: int) -> Loop:
    """Run until `count` results are there.

    Raises:
        RuntimeError: A client failed.
    """
    address = urlsplit(url)
    numbers = iter(range(count))
    loop, lock, failed = Loop(), threading.Lock(), []

    def client() -> None:
        connection = http.client.HTTPConnection(
            address.hostname or "", address.port, timeout=_TIMEOUT_SECONDS
        )
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            began = time.perf_counter()
            ask(connection, images[number % len(images)])
            loop.waits.append(time.perf_counter() - began)

    def caught() -> None:
        try:
            client()
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=caught) for _ in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    loop.seconds = time.perf_counter() - began
    if failed:
        raise RuntimeError(f"a client failed: {failed[0]!r}")
    return loop


def triage(key: str, *, model: str = "champion", priority: str = "routine", fields: int = 1) -> Ask:
    """Ask hemotriage: post a job, of one image or of several, and wait for its end."""
    headers = {"Authorization": f"Bearer {key}"}
    described = {"model": model, "priority": priority}

    def post(connection: http.client.HTTPConnection, image: bytes) -> dict[str, str]:
        if fields == 1:
            target = f"/v1/jobs?{urlencode(described)}"
            as_jpeg = {**headers, "Content-Type": "image/jpeg"}
            return _json(connection, "POST", target, image, as_jpeg)
        files = [("image", ("field.jpg", image))] * fields
        body, media_type = urllib3.encode_multipart_formdata([*described.items(), *files])
        as_form = {**headers, "Content-Type": media_type}
        return _json(connection, "POST", "/v1/jobs", body, as_form)

    def ask(connection: http.client.HTTPConnection, image: bytes) -> None:
        job = post(connection, image)
        while job["status"] in ("queued", "running"):
            link = f"/v1/jobs/{job['id']}?wait={_WAIT_SECONDS}"
            job = _json(connection, "GET", link, None, headers)
        if job["status"] != "succeeded":
            raise RuntimeError(f"job {job['id']} is {job['status']}")

    return ask


def _json(
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    body: bytes | None,
    headers: dict[str, str],
) -> dict[str, str]:
    connection.request(method, target, body, headers)
    response = connection.getresponse()
    content = response.read()
    if response.status >= 300:
        raise RuntimeError(f"{method} {target}: {response.status} {content[:200]!r}")
    found: dict[str, str] = json.loads(content)
    return found
