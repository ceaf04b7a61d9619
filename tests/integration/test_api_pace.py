"""Who sends slowly, or takes nothing, holds no place of the API: sockets to a real gunicorn."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import gevent
import pytest

from services.api.pace import GRACE_SECONDS, PacedBody, TooSlowError
from shared.local.ports import free_ports
from tests.waiting import eventually

# The server as it is, with waits that a test can sit through.
PROGRAM = """
import os, pathlib, tempfile
folder = pathlib.Path(tempfile.mkdtemp())
os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
from services.api.patching import patch
patch()
from services.api import app, connections, pace, server
pace.PacedBody.__init__.__kwdefaults__.update(grace_seconds=1.0, bytes_a_second=4096)
app.DRAIN_SECONDS = 2.0
connections.STALLED_SECONDS = 1.0
_load = server._Server.load_config
def load_config(self):
    _load(self)
    self.cfg.set("keepalive", 1)
server._Server.load_config = load_config
raise SystemExit(server.serve(folder))
"""


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("api") / "log"


@pytest.fixture(scope="module")
def address(servers, settings, database, log: Path) -> Iterator[tuple[str, int]]:
    port = free_ports(1)[0]
    environment = {
        **os.environ,
        **servers.environment(),
        "HEMOTRIAGE_API_PORT": str(port),
        "HEMOTRIAGE_API_PROCESSES": "1",
    }
    with log.open("wb") as file:
        running = subprocess.Popen(
            [sys.executable, "-c", PROGRAM], env=environment, stdout=file, stderr=file
        )
    try:
        eventually(lambda: answered(("127.0.0.1", port), b"GET /healthz HTTP/1.1\r\n\r\n"))
        yield "127.0.0.1", port
    finally:
        running.terminate()
        running.wait(40)


def answered(address: tuple[str, int], request: bytes) -> bytes:
    """The beginning of what a server answers; empty where it closes, or is not there yet."""
    try:
        with socket.create_connection(address, timeout=30) as client:
            client.sendall(request)
            return client.recv(64 * 1024)
    except ConnectionError:
        return b""


def head(length: int = 1_000_000) -> bytes:
    return (
        b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n"
        b"Content-Length: %d\r\n\r\n" % length
    )


def test_a_head_without_an_end_is_waited_for_no_longer_than_a_connection_is_kept(address) -> None:
    assert answered(address, b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ") == b""


def test_a_body_that_stops_holds_no_place(address) -> None:
    """Nobody knows this client, and so its body is only read to be thrown away."""
    assert b" 401 " in answered(address, head() + b"\x89PNG")


def test_a_body_that_drips_in_is_not_waited_for(address) -> None:
    with socket.create_connection(address, timeout=30) as client:
        client.sendall(head())
        said = b""
        for _ in range(100):
            client.sendall(b"x")
            client.settimeout(0.1)
            try:
                said = client.recv(1024)
                break
            except TimeoutError:
                continue
    assert said.startswith(b"HTTP/1.1 401 ")


def test_a_refused_body_that_comes_at_its_pace_is_read_for_no_longer_than_so_long(address) -> None:
    """A client that reads the answer meanwhile gets it, as late as that."""
    begun = time.monotonic()
    with socket.create_connection(address, timeout=0.1) as client:
        client.sendall(head(100_000_000))
        said = b""
        while not said and time.monotonic() - begun < 20:
            client.sendall(b"x" * 32_768)
            with suppress(TimeoutError):
                said = client.recv(1024)
    assert said.startswith(b"HTTP/1.1 401 ")
    assert 1.5 < time.monotonic() - begun < 15


@pytest.mark.parametrize(
    "request_head",
    [
        b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nX-Long: " + b"x" * 9000 + b"\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(101)) + b"\r\n",
    ],
    ids=["a line", "a header", "headers"],
)
def test_a_head_that_is_too_large_is_refused(address, request_head: bytes) -> None:
    assert answered(address, request_head).split(b" ")[1] in (b"400", b"414", b"431")


@pytest.mark.parametrize(
    "request_head",
    [
        b"GET /dicomweb/workitems?PatientID=4711-M\xc3\xbcller HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /dicomweb/workitems?PatientID=4711 Muller HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization Bearer ht_4711\r\n\r\n",
        b"GET /v1/jobs HTTP/4711\r\nHost: x\r\n\r\n",
    ],
    ids=["an umlaut", "a space", "no colon", "a version"],
)
def test_what_is_no_request_is_told_so_and_repeated_nowhere(
    address, log: Path, request_head: bytes
) -> None:
    before = log.stat().st_size
    head, _, body = answered(address, request_head).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"Content-Type: application/problem+json" in head
    assert json.loads(body)["code"] == "bad_request"
    eventually(lambda: b"no request" in log.read_bytes()[before:])
    assert b"4711" not in body + log.read_bytes()[before:]


class Line:
    """A body that comes in pieces, each after a pause, as `wsgi.input` gives it under gevent."""

    def __init__(self, *pieces: bytes, pause: float) -> None:
        self.pieces = list(pieces)
        self._pause = pause

    def read(self, size: int) -> bytes:
        gevent.sleep(self._pause)
        return self.pieces.pop(0) if self.pieces else b""

    readline = read


def test_a_body_that_comes_slower_than_its_pace_ends_with_an_error() -> None:
    line = Line(*[b"x"] * 1000, pause=0.02)
    body = PacedBody(line, grace_seconds=0.2, bytes_a_second=1000)
    with pytest.raises(TooSlowError) as told:
        body.read()
    assert told.value.http_status == 408
    assert line.pieces, "it was not read to its end"


def test_a_body_may_take_any_time_at_its_pace() -> None:
    body = PacedBody(Line(*[b"x" * 50] * 40, pause=0.01), grace_seconds=0.2, bytes_a_second=10)
    assert len(body.read()) == 2000


def test_bodies_are_read_as_of_any_stream() -> None:
    body = PacedBody(io.BytesIO(b"one\ntwo\nthree"), grace_seconds=GRACE_SECONDS)
    assert (body.read(2), body.readline(), list(body)) == (b"on", b"e\n", [b"two\n", b"three"])
    assert body.read(0) == body.read(10) == b""


def test_who_takes_no_answers_loses_the_connection(address) -> None:
    """A hundred answers fill what the system holds for a client that reads none."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(30)
        client.connect(address)
        client.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 200)
        time.sleep(3)
        read = 0
        try:
            while piece := client.recv(1024**2):
                read += piece.count(b"HTTP/1.1 200")
        except ConnectionError:
            pass
    assert read < 200
