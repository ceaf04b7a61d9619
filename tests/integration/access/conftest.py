"""The API with its console, for all tests of a file."""

from __future__ import annotations

import pytest
from apiflask import APIFlask

from services.api.app import create_app
from shared.settings import Settings
from shared.storage.s3 import S3Store
from tests.integration.test_console_guard import with_secret


@pytest.fixture(scope="module")
def application(settings: Settings, storage: S3Store) -> APIFlask:
    return create_app(with_secret(settings))
