"""A connection that a client keeps open is closed when the API stops, and told nothing wrong."""

from __future__ import annotations

from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from shared.local.service import LocalService


@pytest.mark.exhaustive
@pytest.mark.slow
def test_an_idle_connection_ends_without_an_answer_to_nothing(service: LocalService) -> None:
    service.ensure_alive()
    api = service.applications["api"]
    before = api.spec.log.stat().st_size
    connection = HTTPConnection(urlsplit(service.url).netloc, timeout=60)
    connection.request("GET", "/healthz")
    answer = connection.getresponse()
    assert (answer.status, bool(answer.read()), answer.will_close) == (200, True, False)
    idle = connection.sock
    api.restart()
    assert idle.recv(65536) == b""
    connection.close()
    said = api.spec.log.read_bytes()[before:]
    assert b"Error handling request" not in said
    assert b"Traceback" not in said
