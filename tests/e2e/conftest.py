"""The whole service in real processes, once for all end-to-end tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.client import Client
from shared.local.service import LocalService


@pytest.fixture(scope="session")
def service(service_folder: Path) -> Iterator[LocalService]:
    """Servers, API, worker, trainer and relay; a lost worker's jobs come back within seconds."""
    settings = {"HEMOTRIAGE_LEASE_SECONDS": "5", "HEMOTRIAGE_REQUEUE_AFTER_SECONDS": "10"}
    with LocalService(service_folder / "service", settings=settings) as running:
        yield running


@pytest.fixture
def client(service: LocalService) -> Client:
    """A client with every scope."""
    service.ensure_alive()
    return Client(service.url, service.api_key)
