"""LitServe beside the service: the same pictures, clients and model, and nothing stored."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import httpx

from shared.local.ports import HOST, free_ports
from shared.settings import PROJECT_ROOT
from tests.bench.load import Ask, closed_loop
from tests.bench.report import Report
from tests.bench.service import CLIENTS, encoded_fields

_START_SECONDS = 180
_BOUNDARY = "bench"


def rivals(report: Report, models: Sequence[str], *, jobs: int) -> None:
    """LitServe's rate and waits for each model."""
    images = encoded_fields()
    for model in models:
        with _serving(model) as url:
            warm_up = closed_loop(url, _ask(), images, clients=8, count=64)
            count = max(64, min(jobs, round(20 * warm_up.rate)))
            for clients in CLIENTS:
                run = closed_loop(url, _ask(), images, clients=clients, count=count)
                part = f"LitServe, {model}, tensorflow, f32"
                report.add(part, f"{clients} clients", run.rate, "requests/s")
                report.add(part, f"{clients} clients, p99", run.percentile(99), "ms")


def _ask() -> Ask:
    head = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="request"; filename="f.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    ).encode()
    tail = f"\r\n--{_BOUNDARY}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}

    def ask(connection: http.client.HTTPConnection, image: bytes) -> None:
        connection.request("POST", "/predict", head + image + tail, headers)
        response = connection.getresponse()
        content = response.read()
        if response.status != 200 or "Benign" not in json.loads(content):
            raise RuntimeError(f"{response.status} {content[:200]!r}")

    return ask


@contextmanager
def _serving(model: str) -> Iterator[str]:
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "tests.bench.rival_server", model, str(port)]
    server = subprocess.Popen(
        command,
        cwd=PROJECT_ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # its processes do not all end with it
    )
    url = f"http://{HOST}:{port}"
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not _is_healthy(url):
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("LitServe does not come up")
            time.sleep(0.5)
        yield url
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _is_healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", trust_env=False, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
