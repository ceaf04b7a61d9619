"""A gateway that has a worklist, and orders on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.gateway.main import create_intake
from services.gateway.scp import Gateway
from shared.auth.keys import Scope, create_key
from shared.auth.tenants import DEFAULT_TENANT
from shared.orders.entities import NewOrder
from shared.orders.place import place
from shared.settings import Settings
from tests.integration.worklist.queries import (
    CALLER,
)


@pytest.fixture
def reader_id(sessions) -> str:
    return create_key(sessions, "modalities", [Scope.SUBMIT, Scope.READ])[0].id


@pytest.fixture
def gateways(settings: Settings, sessions, storage, reader_id: str) -> Iterator[object]:
    running = []

    def start(**changes: object) -> int:
        told = {"dicom_api_key_id": reader_id, "dicom_calling_aes": f"{CALLER}@127.0.0.1"}
        gateway = Gateway(create_intake(settings.model_copy(update={**told, **changes})))
        port = gateway.start()
        running.append(gateway)
        return port

    yield start
    for gateway in running:
        gateway.close()


@pytest.fixture
def port(gateways) -> int:
    return gateways()


@pytest.fixture
def placed(sessions, reader_id: str):
    def make(number: str = "ACC-1", **fields: object):
        return place(sessions, NewOrder(number, **fields), key_id=reader_id, tenant=DEFAULT_TENANT)[
            0
        ]

    return make
