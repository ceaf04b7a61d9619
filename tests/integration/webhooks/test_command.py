"""`hemotriage webhooks list`."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from tests.command_line import command_line


def test_each_event_is_a_line_with_its_whole_id_and_address(
    servers, end: Callable[..., uuid.UUID]
) -> None:
    receiver = "http://results.of-the-laboratory.a-hospital-with-a-long-name.example:8081"
    event_id = end(f"{receiver}/hook")
    environment = {**servers.environment(), "COLUMNS": "40"}
    lines = command_line("webhooks", "list", **environment).stdout.splitlines()
    (row,) = (line for line in lines if str(event_id) in line)
    assert receiver in row
    assert "job.succeeded" in row
