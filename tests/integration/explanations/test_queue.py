"""The queue of explanations: who may ask, who may take, and what no crash loses."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.exc import IntegrityError

from shared.auth.tenants import DEFAULT_TENANT
from shared.db import models
from shared.db.listen import Listener
from shared.db.models import AuditRow, ExplanationRow
from shared.errors import CorruptImageError, NoResultError, NotFoundError
from shared.explanations.claim import ABANDONED, complete, give_up, hand_back, renew
from shared.explanations.method import Method
from shared.explanations.queue import read
from shared.explanations.states import (
    ExplanationStatus,
    Subject,
)
from shared.explanations.watch import ExplanationWatch
from shared.jobs.complete import complete as complete_jobs
from shared.storage import StorageUnavailableError, explanation_key, job_of_key
from shared.triage.labels import Label
from tests.integration.explanations.asking import (
    DOCUMENT,
    LIMIT,
    SHA,
    a_subject,
    ask,
    claimed,
    set_all,
    taken,
)
from tests.integration.jobs import LEASE, a_result, count, post, take
from tests.waiting import eventually


def test_the_words_of_the_schema_are_those_of_the_code() -> None:
    assert tuple(ExplanationStatus) == models.EXPLANATION_STATUSES
    assert tuple(Method) == models.EXPLANATION_METHODS


def test_a_picture_belongs_to_its_job_and_replaces_no_other() -> None:
    job_id = uuid.uuid4()
    keys = {explanation_key(job_id, 3, Method.LIME, sha256) for sha256 in (SHA, "b" * 64)}
    assert len(keys) == 2
    assert job_of_key(explanation_key(job_id, 3, Method.LIME, SHA)) == job_id


def test_who_asks_twice_or_at_once_asks_once(sessions, subject) -> None:
    with ThreadPoolExecutor(4) as pool:
        states = list(pool.map(lambda _: ask(sessions, subject), range(8)))
    assert {state.status for state in states} == {ExplanationStatus.QUEUED}
    assert len({state.requested_at for state in states}) == 1
    assert count(sessions, ExplanationRow) == 1
    with sessions() as session:
        statement = select(AuditRow).where(AuditRow.action == "explanation.requested")
        event = session.scalars(statement).one()
    assert event.job_id == subject.job_id
    assert event.details == {"image": 0, "method": "gradcam"}
    assert event.actor == "key:k"


def test_only_a_result_can_be_explained(sessions, storage, key_id) -> None:
    job = post(sessions, storage, key_id).job
    waiting = Subject(job.id, 0, Method.LIME)
    with pytest.raises(NoResultError, match="queued"):
        ask(sessions, waiting)
    for absent in (
        replace(waiting, job_id=uuid.uuid4()),
        replace(waiting, image_index=1),
        replace(waiting, image_index=10**12),
    ):
        with pytest.raises(NotFoundError):
            ask(sessions, absent)
    assert count(sessions, ExplanationRow) == 0


def test_what_was_not_asked_for_cannot_be_read(sessions, subject) -> None:
    with pytest.raises(NotFoundError, match="not asked for"):
        read(sessions, subject, tenant=DEFAULT_TENANT)


def test_a_claim_says_what_is_to_be_explained(sessions, subject) -> None:
    ask(sessions, subject)
    held = taken(sessions, subject)
    assert (held.model_name, held.model_version) == ("cnn_custom", 1)
    assert held.object_key == f"jobs/{subject.job_id}/images/0"
    assert held.image_sha256 == f"{1:064d}"
    assert held.label is Label.BENIGN
    assert (held.attempt, held.failures) == (1, 0)
    assert read(sessions, subject, tenant=DEFAULT_TENANT).status is ExplanationStatus.RUNNING


def test_each_method_is_a_queue_that_gives_what_waits_longest(sessions, storage, key_id) -> None:
    subjects = [a_subject(sessions, storage, key_id) for _ in range(3)]
    by_lime = replace(subjects[0], method=Method.LIME)
    for subject in (subjects[2], subjects[0], by_lime, subjects[1]):
        ask(sessions, subject)
    order = [claimed(sessions).subject for _ in subjects]
    assert order == [subjects[2], subjects[0], subjects[1]]
    assert claimed(sessions) is None
    assert claimed(sessions, Method.LIME).subject == by_lime


def test_many_explainers_at_once_take_each_explanation_once(sessions, storage, key_id) -> None:
    subjects = [a_subject(sessions, storage, key_id) for _ in range(8)]
    for subject in subjects:
        ask(sessions, subject)
    start = threading.Barrier(6)

    def take_all(worker: int) -> list[Subject]:
        start.wait(30)
        found = []
        # What another has locked just now is passed over, so that the first look may be too early.
        for _ in range(20):
            if held := claimed(sessions, worker=f"e{worker}"):
                found.append(held.subject)
        return found

    with ThreadPoolExecutor(6) as pool:
        found = [subject for one in pool.map(take_all, range(6)) for subject in one]
    assert sorted(map(str, found)) == sorted(map(str, subjects))


def test_an_explanation_ends_with_its_document_and_its_picture(sessions, subject) -> None:
    ask(sessions, subject)
    held = taken(sessions, subject)
    assert renew(sessions, held, lease_seconds=LEASE, progress=0.5)
    assert read(sessions, subject, tenant=DEFAULT_TENANT).progress == 0.5
    assert complete(sessions, held, DOCUMENT, SHA)
    state = read(sessions, subject, tenant=DEFAULT_TENANT)
    assert (state.status, state.progress) == (ExplanationStatus.SUCCEEDED, 1.0)
    assert (state.document, state.png_sha256) == (DOCUMENT, SHA)
    assert state.finished_at is not None
    assert not renew(sessions, held, lease_seconds=LEASE, progress=0.6)
    assert claimed(sessions) is None


def test_a_silent_explainer_loses_its_explanation_and_cannot_end_it(sessions, subject) -> None:
    ask(sessions, subject)
    silent = taken(sessions, subject, worker="e1", lease=-1)
    assert renew(sessions, silent, lease_seconds=-1, progress=0.9)
    other = taken(sessions, subject, worker="e2")
    assert (other.attempt, other.failures) == (2, 1)
    assert read(sessions, subject, tenant=DEFAULT_TENANT).progress == 0
    assert not renew(sessions, silent, lease_seconds=LEASE, progress=0.9)
    assert not complete(sessions, silent, DOCUMENT, SHA)
    give_up(sessions, silent, CorruptImageError(), max_attempts=LIMIT)
    hand_back(sessions, silent)
    assert complete(sessions, other, DOCUMENT, SHA)


def test_a_lease_or_a_date_from_before_the_clock_was_set_back_is_over(sessions, subject) -> None:
    ask(sessions, subject)
    set_all(sessions, "due_at = now() + interval '1 day'")
    taken(sessions, subject, worker="e1")
    assert claimed(sessions, worker="e2") is None
    set_all(sessions, "lease_expires_at = now() + interval '1 day'")
    assert taken(sessions, subject, worker="e2").attempt == 2


def test_what_crashes_explainers_is_given_up_and_holds_up_nothing(
    sessions, storage, key_id, subject
) -> None:
    ask(sessions, subject)
    for attempt in range(1, LIMIT + 1):
        assert taken(sessions, subject, lease=-1).attempt == attempt
    later = a_subject(sessions, storage, key_id)
    ask(sessions, later)
    assert claimed(sessions).subject == later
    state = read(sessions, subject, tenant=DEFAULT_TENANT)
    assert (state.status, state.error_code) == (ExplanationStatus.FAILED, ABANDONED)
    assert "fell silent" in state.error_detail


def test_what_is_at_fault_itself_fails_at_once(sessions, subject) -> None:
    ask(sessions, subject)
    give_up(sessions, taken(sessions, subject), CorruptImageError("odd"), max_attempts=LIMIT)
    state = read(sessions, subject, tenant=DEFAULT_TENANT)
    assert (state.status, state.error_code) == (ExplanationStatus.FAILED, "corrupt_image")
    assert "odd" in state.error_detail
    assert ask(sessions, subject) == state


def test_an_outage_counts_nothing_however_often(sessions, subject) -> None:
    ask(sessions, subject)
    for attempt in range(1, LIMIT + 3):
        held = taken(sessions, subject)
        assert (held.attempt, held.failures) == (attempt, 0)
        give_up(sessions, held, StorageUnavailableError(), max_attempts=LIMIT)
        assert claimed(sessions) is None, "it is tried again a little later"
        set_all(sessions, "due_at = now()")
    assert read(sessions, subject, tenant=DEFAULT_TENANT).status is ExplanationStatus.QUEUED


def test_an_error_that_nobody_foresaw_counts_and_its_text_stays_here(sessions, subject) -> None:
    ask(sessions, subject)
    for failures in range(LIMIT):
        held = taken(sessions, subject)
        assert held.failures == failures
        give_up(sessions, held, ValueError("Ada Lovelace"), max_attempts=LIMIT)
        set_all(sessions, "due_at = now()")
    state = read(sessions, subject, tenant=DEFAULT_TENANT)
    assert (state.status, state.error_code) == (ExplanationStatus.FAILED, ABANDONED)
    assert state.error_detail == "Its last attempt: ValueError"


def test_what_is_handed_back_waits_again_at_once_and_counts_nothing(sessions, subject) -> None:
    ask(sessions, subject)
    held = taken(sessions, subject)
    renew(sessions, held, lease_seconds=LEASE, progress=0.7)
    hand_back(sessions, held)
    assert read(sessions, subject, tenant=DEFAULT_TENANT).progress == 0
    again = taken(sessions, subject)
    assert (again.attempt, again.failures) == (2, 0)


@pytest.mark.parametrize("explained_by", [None, Method.GRADCAM])
def test_results_are_explained_unasked_where_that_is_set(
    sessions, storage, key_id, explained_by
) -> None:
    job = post(sessions, storage, key_id).job
    results = [(take(sessions, job), a_result(job.id))]
    assert complete_jobs(sessions, results, explained_by=explained_by)
    if explained_by is None:
        assert count(sessions, ExplanationRow) == 0
    else:
        assert claimed(sessions).subject == Subject(job.id, 0, explained_by)
        assert not read(sessions, Subject(job.id, 0, explained_by), tenant=DEFAULT_TENANT).asked


def test_a_result_that_is_lost_asks_for_nothing(sessions, storage, key_id) -> None:
    job = post(sessions, storage, key_id).job
    lost = replace(take(sessions, job), attempt=7)
    assert not complete_jobs(sessions, [(lost, a_result(job.id))], explained_by=Method.GRADCAM)
    assert count(sessions, ExplanationRow) == 0


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("status = 'done', finished_at = now()", "status_known"),
        ("status = 'running'", "lease_while_running"),
        ("status = 'running', lease_expires_at = now()", "worker_while_running"),
        ("finished_at = now()", "finished_when_ended"),
        ("status = 'failed', finished_at = now()", "failure_has_code"),
        ("status = 'succeeded', finished_at = now()", "answer_is_whole"),
        ("png_sha256 = 'x'", "picture_comes_with_document"),
        ("progress = 1.1", "progress_is_fraction"),
        ("failures = 1", "failures_are_attempts"),
        ("method = 'saliency'", "method_known"),
        ("asked = false, wanted_at = now()", "whoever_waits_has_asked"),
        ("image_index = 1", "fk_explanations_job_id_image_index"),
    ],
)
def test_the_database_itself_refuses_an_impossible_explanation(
    sessions, subject, change: str, constraint: str
) -> None:
    ask(sessions, subject)
    with pytest.raises(IntegrityError, match=constraint):
        set_all(sessions, change)


def test_requests_and_ends_are_told(sessions, subject, database: Engine) -> None:
    heard: list[str] = []
    listener = Listener(database, "explanation_requested", heard=heard.append)
    listener.start()
    listener.start()
    eventually(lambda: listener.is_listening, 20)
    ask(sessions, subject)
    eventually(lambda: heard == ["gradcam"], 20)
    hand_back(sessions, taken(sessions, subject))
    eventually(lambda: heard == ["gradcam"] * 2, 20)
    ask(sessions, subject, waits=True)
    eventually(lambda: heard == ["gradcam"] * 3, 20)


def test_whoever_waits_for_an_explanation_is_told_of_its_end(
    sessions, subject, database: Engine, monkeypatch
) -> None:
    monkeypatch.setattr("shared.explanations.watch.LOOK_SECONDS", 60)
    watch = ExplanationWatch(database, sessions)
    ask(sessions, subject)
    assert watch.wait(subject, 0.2, tenant=DEFAULT_TENANT).status is ExplanationStatus.QUEUED
    eventually(lambda: watch._listener.is_listening, 20)
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(watch.wait, subject, 60, tenant=DEFAULT_TENANT) for _ in range(2)]
        eventually(lambda: len(watch._waiting.get(str(subject), ())) == 2, 20)
        complete(sessions, taken(sessions, subject), DOCUMENT, SHA)
        states = [one.result(30) for one in waiting]
    assert [state.document for state in states] == [DOCUMENT] * 2
    assert not watch._waiting
