"""A listener of orders on a port of this machine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from services.gateway.main import create_listener
from shared.interop.hl7.listen import Limits, MllpListener
from shared.local.ports import HOST
from shared.settings import Settings
from tests.dicom import SECRET


@pytest.fixture
def told_settings(settings: Settings, key_id: str) -> Settings:
    changes = {
        "hl7_allowed_hosts": "192.0.2.0/24,127.0.0.1",
        "hl7_api_key_id": key_id,
        "pseudonym_secret": SECRET,
    }
    return Settings.model_validate({**settings.model_dump(), **changes})


Listen = Callable[..., int]


@pytest.fixture
def listen(told_settings: Settings, sessions) -> Iterator[Listen]:
    running: list[MllpListener] = []

    def start(limits: Limits | None = None, used=sessions, **changes: object) -> int:
        made = create_listener(told_settings.model_copy(update=changes), used, limits=limits)
        port = made.start(HOST, 0)
        running.append(made)
        return port

    yield start
    for each in running:
        each.close()
    assert [one.name for one in threading.enumerate() if one.name.startswith("mllp")] == []


@pytest.fixture
def port(listen: Listen) -> int:
    return listen()
