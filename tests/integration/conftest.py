"""The API and what a worker runs, within this process and against the real servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient

from services.api.app import create_app
from services.worker.batcher import Batcher
from services.worker.inference import JobRunner
from services.worker.runtime import Runtime
from shared.auth.keys import Scope, create_key
from shared.db.session import Sessions
from shared.settings import Settings
from shared.storage.s3 import S3Store


@pytest.fixture
def client(settings: Settings, sessions: Sessions, storage: S3Store) -> FlaskClient:
    """A client whose key has every scope."""
    app = create_app(settings)
    _, key = create_key(sessions, "test", list(Scope))
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key}"
    return client


@pytest.fixture(scope="module")
def batcher() -> Iterator[Batcher]:
    running = Batcher(batch_size=8)
    yield running
    running.close()


@pytest.fixture
def runner(settings: Settings, sessions: Sessions, storage: S3Store, batcher: Batcher) -> JobRunner:
    """What a worker runs jobs with."""
    return JobRunner(settings, sessions, storage, Runtime(settings), batcher)
