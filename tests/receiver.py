"""A receiver of webhooks: a real HTTP server that answers as it is told."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from shared.webhooks.signature import key_of, verify

SECRET = "whsec_" + "Zm9v" * 8


@dataclass(frozen=True)
class Call:
    """One request as it came; names of headers in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event_id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def document(self) -> dict[str, Any]:
        return json.loads(self.body)

    def is_signed(self, secret: str = SECRET) -> bool:
        """Whether its signature is good at the moment that it names."""
        moment = int(self.headers["webhook-timestamp"])
        return verify(key_of(secret), self.headers, self.body, now=moment)


Answer = int | Callable[["Receiver", BaseHTTPRequestHandler], None]


class Receiver:
    """Gives its answers one after the other, then 200; over TLS if it has a certificate."""

    def __init__(self, *answers: Answer, certificate: tuple[Path, Path] | None = None) -> None:
        self.answers = list(answers)
        self.calls: list[Call] = []
        self.released = threading.Event()
        self._lock = threading.Lock()
        self._under_way = 0
        self.most_at_once = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._scheme = "http"
        if certificate is not None:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(*certificate)
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
            self._scheme = "https"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}/hook?of=hospital"

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(receiver) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                with receiver._lock:
                    receiver.calls.append(Call(self.path, headers, body))
                    answer = receiver.answers.pop(0) if receiver.answers else 200
                    receiver._under_way += 1
                    receiver.most_at_once = max(receiver.most_at_once, receiver._under_way)
                with suppress(OSError):  # the caller may have gone
                    if callable(answer):
                        answer(receiver, self)
                    else:
                        self.send_response(answer)
                        self.send_header("content-length", "0")
                        self.end_headers()
                with receiver._lock:
                    receiver._under_way -= 1

            do_GET = do_POST  # noqa: N815 - a redirect that is followed may come as this

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler


def hang(receiver: Receiver, handler: BaseHTTPRequestHandler) -> None:
    """Take the request and never answer it."""
    receiver.released.wait(60)
    handler.close_connection = True


def drip(receiver: Receiver, handler: BaseHTTPRequestHandler) -> None:
    """Send a good answer, a byte at a time, for a quarter of a minute."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    for _ in range(300):
        if receiver.released.wait(0.05):
            return
        handler.wfile.write(b"x")
        handler.wfile.flush()
    handler.wfile.write(b"\r\n\r\n")


def endless_body(receiver: Receiver, handler: BaseHTTPRequestHandler) -> None:
    """Answer at once, with a body that never ends."""
    handler.send_response(200)
    handler.send_header("content-length", str(10**12))
    handler.end_headers()
    handler.wfile.write(b"x" * 1000)
    handler.wfile.flush()
    receiver.released.wait(60)


def redirect_to(url: str, status: int = 302) -> Answer:
    """Send the caller elsewhere."""

    def answer(_: Receiver, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("location", url)
        handler.send_header("content-length", "0")
        handler.end_headers()

    return answer


def cut(_: Receiver, handler: BaseHTTPRequestHandler) -> None:
    """Close the connection without an answer."""
    handler.close_connection = True
