"""Whoever stands in for an OpenID provider can fill no memory and hold no thread."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from shared.auth import bounded
from shared.auth.code_flow import CodeFlow
from shared.auth.issuers import Issuer
from shared.auth.jwks import IssuerKeys, IssuerUnavailableError
from shared.settings import Settings
from tests.dicom import settings_without_servers

Answer = Callable[[BaseHTTPRequestHandler], None]


@pytest.fixture
def settings() -> Settings:
    return settings_without_servers(answer_timeout_seconds=1)


@pytest.fixture
def hostile() -> Iterator[Callable[[Answer], str]]:
    """Starts a server that answers all calls so; gives its address."""
    running = []

    def start(answer: Answer) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                with suppress(ConnectionError):
                    answer(self)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        running.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def plain(body: bytes) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def compressed(handler: BaseHTTPRequestHandler) -> None:
    handler.send_header("Content-Encoding", "gzip")
    handler.end_headers()
    handler.wfile.write(gzip.compress(b" " * 50 * 1024**2))


def dripping(handler: BaseHTTPRequestHandler) -> None:
    handler.end_headers()
    while True:
        handler.wfile.write(b" ")
        time.sleep(0.05)


HOSTILE = {
    "too large": plain(json.dumps({"issuer": "x" * bounded.MAX_ANSWER_BYTES}).encode()),
    "compressed": compressed,
    "too slow": dripping,
    "nested": plain(b"[" * 100_000),
    "a list": plain(b"[]"),
    "no JSON": plain(b"<html>"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_an_issuer_answers_is_bounded(hostile, settings, monkeypatch, kind: str) -> None:
    monkeypatch.setattr(bounded, "MAX_ANSWER_SECONDS", 0.3)
    url = hostile(HOSTILE[kind])
    begun = time.monotonic()
    with pytest.raises(IssuerUnavailableError):
        IssuerKeys(url, settings).find("any")
    with pytest.raises(IssuerUnavailableError):
        CodeFlow(Issuer(url, "hemotriage"), settings).begin("https://here.example/back")
    assert time.monotonic() - begun < 5


def test_an_answer_that_is_too_large_is_not_read_to_its_end(hostile, settings) -> None:
    written = []

    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.end_headers()
        while True:
            written.append(handler.wfile.write(b" " * 65536))

    with pytest.raises(IssuerUnavailableError):
        IssuerKeys(hostile(endless), settings).find("any")
    assert sum(written) < 64 * bounded.MAX_ANSWER_BYTES
