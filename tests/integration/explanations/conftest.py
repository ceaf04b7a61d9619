"""A result to explain, and explainers that do it."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine

from services.worker.explain import Explain, ExplainableModels, Stored
from services.worker.explainer import Explainer
from services.worker.inference import JobRunner
from services.worker.patience import Patience
from shared.db.listen import Listener
from shared.db.session import Sessions
from shared.explanations.states import Subject
from shared.registry.catalogue import Catalogue
from shared.settings import Settings
from shared.storage.s3 import S3Store
from tests.factories import smear_bytes
from tests.integration.explanations.asking import a_subject
from tests.integration.posting import post


@pytest.fixture
def subject(sessions: Sessions, storage: S3Store, key_id: str) -> Subject:
    """A result that may be explained."""
    return a_subject(sessions, storage, key_id)


@pytest.fixture
def address(client: FlaskClient, runner: JobRunner) -> str:
    """Where the explanation of a new job's second image is."""
    accepted = post(client, smear_bytes(1), smear_bytes(2), model="cnn_custom@1").json
    runner.run(uuid.UUID(accepted["id"]), worker="w")
    return accepted["links"]["explanations"][1]


@pytest.fixture(scope="module")
def running(database: Engine) -> list[Explainer]:
    """The explainers that run, which hear of requests."""
    explainers: list[Explainer] = []

    def wake(method: str) -> None:
        for explainer in explainers:
            explainer.wake(method)

    Listener(database, "explanation_requested", heard=wake).start()
    return explainers


@pytest.fixture
def explaining(
    settings: Settings, sessions: Sessions, running: list[Explainer]
) -> Iterator[Callable[..., Explainer]]:
    """Starts an explainer, by a function that makes explanations."""

    def start(make: Callable[..., Stored]) -> Explainer:
        explainer = Explainer(settings, sessions, make, threading.Event())
        explainer.start()
        running.append(explainer)
        return explainer

    yield start
    while running:
        running.pop().close()


@pytest.fixture
def explain(settings: Settings, storage: S3Store, catalogue: Catalogue) -> Explain:
    patience = Patience(seconds=0, stopping=threading.Event())
    return Explain(
        storage, ExplainableModels(settings, catalogue), patience, max_pixels=settings.max_pixels
    )
