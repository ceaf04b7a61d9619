"""The API and what a worker runs, within this process and against the real servers."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text

from services.api.app import create_app
from services.worker.batcher import Batcher
from services.worker.hands import Hands
from services.worker.inference import JobRunner
from services.worker.patience import Patience
from services.worker.runtime import Runtime
from services.worker.triage import Triage
from services.worker.watchdog import Watchdog
from shared.auth.keys import Scope, create_key
from shared.db.session import Sessions
from shared.registry.catalogue import Catalogue
from shared.registry.policy import ChangeControlPolicy, read_policy
from shared.settings import Settings
from shared.storage.s3 import S3Store
from shared.triage.policy import Urgency
from tests.factories import class_folders
from tests.integration.jobs import finish, post, take
from tests.integration.posting import authorised


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of drawn fields: ten of each class, in a folder a class."""
    return class_folders(tmp_path_factory.mktemp("drawn") / "images", 10)


@pytest.fixture
def client(settings: Settings, sessions: Sessions, storage: S3Store) -> FlaskClient:
    """A client whose key has every scope."""
    return authorised(create_app(settings), sessions)


@pytest.fixture(scope="session")
def watchdog() -> Watchdog:
    return Watchdog(limit_seconds=120, on_overdue=lambda claims: pytest.exit(f"hung: {claims}"))


@pytest.fixture(scope="module")
def batcher(watchdog: Watchdog) -> Iterator[Batcher]:
    running = Batcher(watchdog, batch_size=8)
    yield running
    running.close()


@pytest.fixture
def runner(
    settings: Settings, sessions: Sessions, storage: S3Store, batcher: Batcher, watchdog: Watchdog
) -> JobRunner:
    """What a worker runs jobs with."""
    patience = Patience(seconds=0, stopping=threading.Event())
    runtime = Runtime(settings, Catalogue(settings, sessions, storage))
    triage = Triage(storage, runtime, batcher, watchdog, patience, max_pixels=settings.max_pixels)
    return JobRunner(settings, sessions, Hands(), patience, together=triage, alone=triage)


@pytest.fixture
def key_id(sessions: Sessions) -> str:
    return create_key(sessions, "test", [Scope.SUBMIT])[0].id


@pytest.fixture
def own(settings: Settings, tmp_path: Path) -> Settings:
    """Settings with a folder of its own for what is fetched."""
    return settings.model_copy(update={"registry_dir": tmp_path / "fetched"})


@pytest.fixture
def catalogue(own: Settings, sessions: Sessions, storage: S3Store) -> Catalogue:
    return Catalogue(own, sessions, storage)


@pytest.fixture
def policy(settings: Settings) -> ChangeControlPolicy:
    return read_policy(settings.change_control_policy)


@pytest.fixture
def a_case(sessions, storage, key_id):
    """Makes a job with a result; returns its id."""

    def made(urgency: Urgency = Urgency.ROUTINE, hours: float | None = None, **fields) -> uuid.UUID:
        job = post(sessions, storage, key_id, **fields).job
        held = take(sessions, job)
        assert held is not None
        assert finish(sessions, held)
        within = "null" if hours is None else str(hours)
        statement = """
            UPDATE results SET urgency = :urgency, document = CAST(jsonb_set(
                CAST(document AS jsonb), '{within_hours}', CAST(:within AS jsonb)
            ) AS json) WHERE job_id = :id
        """
        values = {"urgency": urgency, "within": within, "id": job.id}
        with sessions.begin() as session:
            session.execute(text(statement), values)
        return job.id

    return made
