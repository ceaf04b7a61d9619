"""A connection that a client keeps open is closed when the API stops, and told nothing wrong."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from shared.local.service import LocalService


def test_an_idle_connection_ends_without_an_answer_to_nothing(service: LocalService) -> None:
    service.ensure_alive()
    api = service.applications["api"]
    address = urlsplit(service.url)
    log = api.spec.log
    before = log.stat().st_size
    with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        api.restart()
        assert connection.recv(65536) == b""
    said = log.read_bytes()[before:]
    assert b"Error handling request" not in said
    assert b"Traceback" not in said
