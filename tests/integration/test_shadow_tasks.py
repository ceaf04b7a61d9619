"""What a challenger is to look at, and what is kept of it."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from functools import partial

import pytest
from sqlalchemy import text

from shared.db.session import Sessions
from shared.registry import shadow_tasks
from shared.registry.shadow_tasks import keep, pending
from shared.storage.s3 import S3Store
from shared.triage.result import TriageResult
from tests.integration.shadows import (
    CHALLENGER,
    challenge,
    finished,
    retire,
    rows,
    said,
    set_back,
    waiting,
)


@pytest.fixture
def finish_one(sessions: Sessions, storage: S3Store, key_id: str) -> Callable[..., uuid.UUID]:
    """Finishes a job, as the champion's unless another is named."""
    return partial(finished, sessions, storage, key_id)


def test_what_others_answered_since_the_challenger_was_set_is_pending_oldest_first(
    sessions: Sessions, finish_one
) -> None:
    finish_one()
    assert waiting(sessions) == [], "there is no challenger"
    challenge(sessions)
    first, second = finish_one(), finish_one(model_name="ensemble", model_version=1)
    finish_one(model_name=CHALLENGER[0], model_version=CHALLENGER[1])
    other_version = finish_one(model_name=CHALLENGER[0], model_version=2)
    assert waiting(sessions) == [first, second, other_version]
    (task,) = pending(sessions, limit=1)
    assert (task.job_id, task.name, task.version) == (first, *CHALLENGER)
    behind = pending(sessions, limit=100, after=task.position)
    assert [later.job_id for later in behind] == [second, other_version]
    retire(sessions)
    assert waiting(sessions) == []


@pytest.mark.parametrize("step", [1, 2, 5000])
def test_results_of_one_moment_are_all_found_a_page_at_a_time(
    sessions: Sessions, finish_one, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    monkeypatch.setattr(shadow_tasks, "_STEP", step)
    challenge(sessions)
    jobs = sorted(finish_one() for _ in range(5))
    with sessions.begin() as session:  # as the results that one statement writes
        session.execute(text("UPDATE results SET created_at = clock_timestamp()::timestamptz(0)"))
    set_back(sessions, 1)
    found, position = [], None
    while tasks := pending(sessions, limit=2, after=position):
        found += tasks
        position = tasks[-1].position
    assert [task.job_id for task in found] == jobs
    for task in found[:4]:
        keep(sessions, task, "corrupt_image")
    assert waiting(sessions) == jobs[4:], "it is behind many that are done"


def test_what_is_kept_first_stays(sessions: Sessions, finish_one) -> None:
    challenge(sessions)
    job_id = finish_one("Early", "urgent")
    (task,) = pending(sessions, limit=1)
    document = said(job_id, "Early", "urgent")
    keep(sessions, task, document)
    keep(sessions, task, said(job_id, "Pre", "urgent"))
    keep(sessions, task, "corrupt_image")
    row = rows(sessions)[job_id]
    assert (row.agrees, row.error_code) == (True, None)
    assert TriageResult.model_validate(row.document) == document
    assert waiting(sessions) == []


@pytest.mark.parametrize(
    ("answer", "agrees"),
    [
        (("Early", "urgent"), True),
        (("Pre", "urgent"), False),
        (("Early", "priority"), False),
        (("Benign", "routine"), False),
    ],
)
def test_it_agrees_where_prediction_and_urgency_are_the_same(
    sessions: Sessions, finish_one, answer: tuple[str, str], agrees: bool
) -> None:
    challenge(sessions)
    job_id = finish_one("Early", "urgent")
    keep(sessions, pending(sessions, limit=1)[0], said(job_id, *answer))
    assert rows(sessions)[job_id].agrees is agrees
