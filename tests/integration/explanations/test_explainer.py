"""The explainer that makes explanations: what it hands back, loses, gives up and keeps."""

from __future__ import annotations

import os
import threading
import time
import uuid
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sqlalchemy import select

from services.worker.explain import ExplainableModels, Stored
from services.worker.explainer import ClaimLostError
from services.worker.hands import Hands
from services.worker.inference import JobRunner
from services.worker.patience import Patience
from shared.db.models import AuditRow, ExplanationRow
from shared.db.session import Sessions
from shared.explanations.claim import claim
from shared.explanations.method import Method
from shared.explanations.states import ExplanationClaim
from shared.settings import Settings
from tests.factories import smear_bytes
from tests.integration.posting import post
from tests.waiting import eventually

JSON = {"Accept": "application/json"}


@pytest.fixture
def eager(settings: Settings, sessions: Sessions, runner: JobRunner) -> JobRunner:
    """Runs jobs whose results are explained unasked."""
    explained = settings.model_copy(update={"explain_results": "gradcam"})
    patience = Patience(seconds=0, stopping=threading.Event())
    make = runner._together
    return JobRunner(explained, sessions, Hands(), patience, together=make, alone=make)


def test_what_is_handed_back_when_an_explainer_closes_is_done_by_the_next(
    client, address, explaining, explain
) -> None:
    begun = threading.Event()

    def endless(held: ExplanationClaim, progress: Callable[[float], None]) -> Stored:
        begun.set()
        while True:
            progress(0.1)
            time.sleep(0.05)

    first = explaining(endless)
    client.get(f"{address}?wait=0")
    assert begun.wait(30)
    first.close()
    assert client.get(f"{address}?wait=0", headers=JSON).json["status"] == "queued"
    first._works[0].is_lost = True  # its process would have ended
    eventually(lambda: not first._works, 20)
    explaining(explain)
    assert client.get(f"{address}?wait=30").status_code == 200


def test_an_explainer_that_lost_its_claim_stops(client, address, explaining, sessions) -> None:
    begun, ended = threading.Event(), threading.Event()

    def endless(held: ExplanationClaim, progress: Callable[[float], None]) -> Stored:
        begun.set()
        try:
            while True:
                progress(0.1)
                time.sleep(0.05)
        finally:
            ended.set()

    explainer = explaining(endless)
    client.get(f"{address}?wait=0")
    assert begun.wait(30)
    with sessions.begin() as session:
        session.get_one(
            ExplanationRow, (uuid.UUID(address.split("/")[3]), 1, "gradcam")
        ).worker = "another"
    explainer.beat()
    assert ended.wait(20)


def test_work_that_hangs_ends_the_process_and_counts_against_what_hangs(
    client, sessions, address, explaining, monkeypatch
) -> None:
    def leave(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr("services.worker.explainer.os._exit", leave)
    begun, end = threading.Event(), threading.Event()

    def hangs(held: ExplanationClaim, progress: object) -> Stored:
        begun.set()
        end.wait(60)
        raise ClaimLostError

    explainer = explaining(hangs)
    client.get(f"{address}?wait=0")
    assert begun.wait(30)
    with pytest.raises(SystemExit) as left:
        for _ in range(100):
            explainer.beat()
    end.set()
    assert left.value.code == os.EX_SOFTWARE
    with sessions() as session:
        row = session.scalars(select(ExplanationRow)).one()
        assert (row.status, row.failures) == ("queued", 1)


def test_lime_does_not_keep_grad_cam_of_its_model_waiting_for_its_end(
    client, sessions, address, explain
) -> None:
    client.get(f"{address}?method=lime&wait=0")
    client.get(f"{address}?wait=0")
    options = {"worker": "e", "lease_seconds": 300, "max_attempts": 3}
    by_lime, by_grad_cam = (claim(sessions, method, **options) for method in reversed(Method))
    begun, enough = threading.Event(), threading.Event()

    def until_enough(done: float) -> None:
        if done:
            begun.set()
        if enough.is_set():
            raise ClaimLostError

    with ThreadPoolExecutor(1) as pool:
        lime = pool.submit(explain, by_lime, until_enough)
        assert begun.wait(60)
        assert explain(by_grad_cam, bool).document["method"] == "gradcam"
        enough.set()
        with pytest.raises(ClaimLostError):
            lime.result(60)


def test_an_explainer_keeps_the_models_that_it_used_last(settings, catalogue) -> None:
    models = ExplainableModels(settings, catalogue, most=2)
    first = models.predictor("cnn_custom", 1)
    fields = np.zeros((2, 224, 224, 3), np.uint8)
    student = weakref.ref(models.predictor("student", 1))
    models.predictor("student", 1).grad_cam(fields, np.array([0, 1]))
    assert models.predictor("cnn_custom", 1) is first
    models.predictor("student", 2)
    assert models.predictor("cnn_custom", 1) is first
    assert student() is None


def test_new_results_are_explained_without_being_asked_where_that_is_set(
    client, sessions, eager, explaining, explain
) -> None:
    accepted = post(client, smear_bytes(1), smear_bytes(2), model="cnn_custom@1").json
    explaining(explain)
    eager.run(uuid.UUID(accepted["id"]), worker="w")
    for link in accepted["links"]["explanations"]:
        assert client.get(f"{link}?wait=30").status_code == 200
    with sessions() as session:
        actions = session.scalars(select(AuditRow.action)).all()
    assert "explanation.requested" not in actions, "nobody asked"
