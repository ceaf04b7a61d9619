"""The queue of training runs: who may ask, who may take, and what no crash loses."""

from __future__ import annotations

import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import IntegrityError

from shared.datasets.states import DatasetLockedError, DatasetNotReadyError
from shared.db import models
from shared.db.models import AuditRow, TrainingRunRow
from shared.db.session import Sessions
from shared.errors import ConflictError, DatasetError, NotFoundError
from shared.storage import StorageUnavailableError
from shared.trainings.claim import ABANDONED, claim, complete, give_up, hand_back, renew
from shared.trainings.queue import cancel, events, get_training, list_trainings, request
from shared.trainings.request import TrainingProtocol, TrainingRecipe
from shared.trainings.states import EventKind, Told, TrainingClaim, TrainingRun, TrainingStatus
from shared.trainings.watch import TrainingWatch
from tests.integration.jobs import LEASE, count
from tests.trainings import a_ready_dataset, a_request
from tests.waiting import eventually

LIMIT = 3
RECORD = {"models": {}}
KEPT = {**RECORD, "registered": None}


@pytest.fixture
def dataset_id(sessions: Sessions) -> uuid.UUID:
    return a_ready_dataset(sessions)


@pytest.fixture
def run(sessions: Sessions, dataset_id: uuid.UUID) -> TrainingRun:
    """A queued run."""
    return ask(sessions, dataset_id)


def ask(sessions: Sessions, dataset_id: uuid.UUID, **changes: object) -> TrainingRun:
    return request(sessions, a_request(dataset_id, **changes), actor="key:k")


def claimed(sessions: Sessions, worker: str = "t1", lease: float = LEASE) -> TrainingClaim | None:
    return claim(sessions, worker=worker, lease_seconds=lease, max_attempts=LIMIT)


def taken(sessions: Sessions, run: TrainingRun, **options: object) -> TrainingClaim:
    held = claimed(sessions, **options)
    assert held is not None
    assert held.run_id == run.id
    return held


def read(sessions: Sessions, run: TrainingRun) -> TrainingRun:
    return get_training(sessions, run.id)


def set_all(sessions: Sessions, change: str) -> None:
    with sessions.begin() as session:
        session.execute(text(f"UPDATE training_runs SET {change}"))


def audited(sessions: Sessions) -> list[str]:
    with sessions() as session:
        return list(session.scalars(select(AuditRow.action).order_by(AuditRow.id)))


def an_epoch(number: int) -> Told:
    return Told(EventKind.EPOCH, f"epoch/1/run/{number}", {"epoch": number, "loss": 1 / number})


def test_the_words_of_the_schema_are_those_of_the_code() -> None:
    assert tuple(TrainingStatus) == models.TRAINING_STATUSES
    assert tuple(TrainingProtocol) == models.TRAINING_PROTOCOLS
    assert tuple(TrainingRecipe) == models.TRAINING_RECIPES
    assert tuple(EventKind) == models.TRAINING_EVENTS


def test_a_request_is_kept_as_it_was_made(sessions, dataset_id) -> None:
    overrides = {"max_epochs": 4, "with_validation": True}
    asked = ask(sessions, dataset_id, seeds=[3, 1], overrides=overrides, name="after the audit")
    run = read(sessions, asked)
    assert (run.status, run.attempts, run.progress) == (TrainingStatus.QUEUED, 0, 0)
    assert (run.seeds, run.overrides, run.name) == ((3, 1), overrides, "after the audit")
    assert (run.protocol, run.recipe, run.base) == ("grouped", "robust", None)
    assert [event.document for event in events(sessions, run.id)] == [
        {"status": "queued", "attempts": 0}
    ]
    assert audited(sessions) == ["training.requested"]


def test_only_a_version_that_is_no_locked_test_set_is_trained_on(sessions) -> None:
    of_a_version = ("finished_at", "version", "record", "statistics", "faults", "lineage", "leaks")
    unfinished = dict.fromkeys(of_a_version)
    waiting = a_ready_dataset(sessions, status="queued", **unfinished)
    locked = a_ready_dataset(sessions, locked=True)
    for dataset_id, error in (
        (waiting, DatasetNotReadyError),
        (locked, DatasetLockedError),
        (uuid.uuid4(), NotFoundError),
    ):
        with pytest.raises(error):
            ask(sessions, dataset_id)
    assert count(sessions, TrainingRunRow) == 0


def test_the_run_that_waits_longest_is_taken_and_each_once(sessions, dataset_id) -> None:
    runs = [ask(sessions, dataset_id) for _ in range(6)]
    assert claimed(sessions).run_id == runs[0].id
    start = threading.Barrier(4)

    def take_all(worker: int) -> list[uuid.UUID]:
        start.wait(30)
        # What another has locked just now is passed over, so that the first look may be too early.
        found = [claimed(sessions, worker=f"t{worker}") for _ in range(10)]
        return [held.run_id for held in found if held]

    with ThreadPoolExecutor(4) as pool:
        found = [run_id for one in pool.map(take_all, range(4)) for run_id in one]
    assert sorted(found) == sorted(run.id for run in runs[1:])


def test_a_run_ends_with_its_record(sessions, run) -> None:
    held = taken(sessions, run)
    assert renew(sessions, held, lease_seconds=LEASE, progress=0.5, seconds_left=60, device="cpu")
    running = read(sessions, run)
    assert (running.status, running.progress) == (TrainingStatus.RUNNING, 0.5)
    assert (running.seconds_left, running.device) == (60, "cpu")
    assert complete(sessions, held, RECORD)
    ended = read(sessions, run)
    assert (ended.status, ended.progress, ended.record) == (TrainingStatus.SUCCEEDED, 1.0, KEPT)
    assert (ended.seconds_left, ended.device) == (None, "cpu")
    assert ended.finished_at is not None
    assert not renew(sessions, held, lease_seconds=LEASE, progress=0.6)
    assert claimed(sessions) is None
    assert audited(sessions) == ["training.requested", "training.succeeded"]


def test_events_are_in_order_and_none_is_there_twice(sessions, run) -> None:
    held = taken(sessions, run)
    line = Told(EventKind.LOG, "log/1/1", {"text": "16 images"})
    for told in ([line, an_epoch(1)], [an_epoch(1), an_epoch(2)], [line]):
        assert renew(sessions, held, lease_seconds=LEASE, progress=0.5, told=told)
    complete(sessions, held, RECORD)
    found = events(sessions, run.id)
    assert [event.kind for event in found] == [
        "status",
        "status",
        "log",
        "epoch",
        "epoch",
        "status",
    ]
    numbers = [event.number for event in found]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == read(sessions, run).last_event
    epochs = events(sessions, run.id, kinds=[EventKind.EPOCH])
    assert [event.document["epoch"] for event in epochs] == [1, 2]
    assert events(sessions, run.id, after=numbers[3]) == found[4:]
    assert events(sessions, run.id, limit=2) == found[:2]


def test_a_silent_trainer_loses_its_run_and_can_tell_nothing_more(sessions, run) -> None:
    silent = taken(sessions, run, worker="t1", lease=-1)
    assert renew(sessions, silent, lease_seconds=-1, progress=0.9)
    other = taken(sessions, run, worker="t2")
    assert (other.attempt, other.failures) == (2, 1)
    assert read(sessions, run).progress == 0.9, "it goes on from its checkpoint"
    assert not renew(sessions, silent, lease_seconds=LEASE, progress=1, told=[an_epoch(9)])
    assert not complete(sessions, silent, {"models": "another"})
    give_up(sessions, silent, DatasetError(), max_attempts=LIMIT)
    hand_back(sessions, silent)
    assert complete(sessions, other, RECORD)
    assert read(sessions, run).record == KEPT
    assert events(sessions, run.id, kinds=[EventKind.EPOCH]) == []


def test_a_lease_or_a_date_from_before_the_clock_was_set_back_is_over(sessions, run) -> None:
    set_all(sessions, "due_at = now() + interval '1 day'")
    taken(sessions, run, worker="t1")
    assert claimed(sessions, worker="t2") is None
    set_all(sessions, "lease_expires_at = now() + interval '1 day'")
    assert taken(sessions, run, worker="t2").attempt == 2


def test_what_crashes_trainers_is_given_up_and_holds_up_nothing(sessions, dataset_id, run) -> None:
    for attempt in range(1, LIMIT + 1):
        assert taken(sessions, run, lease=-1).attempt == attempt
    later = ask(sessions, dataset_id)
    assert taken(sessions, later)
    given_up = read(sessions, run)
    assert (given_up.status, given_up.error_code) == (TrainingStatus.FAILED, ABANDONED)
    assert "fell silent" in given_up.error_detail
    assert events(sessions, run.id)[-1].document["error"]["code"] == ABANDONED
    assert audited(sessions).count("training.failed") == 1


def test_what_is_at_fault_itself_fails_at_once(sessions, run) -> None:
    give_up(sessions, taken(sessions, run), DatasetError("no Pro"), max_attempts=LIMIT)
    failed = read(sessions, run)
    assert (failed.status, failed.error_code) == (TrainingStatus.FAILED, "dataset_invalid")
    assert "no Pro" in failed.error_detail


def test_an_outage_counts_nothing_however_often(sessions, run) -> None:
    for attempt in range(1, LIMIT + 3):
        held = taken(sessions, run)
        assert (held.attempt, held.failures) == (attempt, 0)
        give_up(sessions, held, StorageUnavailableError(), max_attempts=LIMIT)
        assert claimed(sessions) is None, "it is tried again a little later"
        set_all(sessions, "due_at = now()")
    assert read(sessions, run).status is TrainingStatus.QUEUED


def test_an_error_that_nobody_foresaw_counts_and_its_text_stays_here(sessions, run) -> None:
    for failures in range(LIMIT):
        held = taken(sessions, run)
        assert held.failures == failures
        give_up(sessions, held, ValueError("Ada Lovelace"), max_attempts=LIMIT)
        set_all(sessions, "due_at = now()")
    failed = read(sessions, run)
    assert (failed.status, failed.error_code) == (TrainingStatus.FAILED, ABANDONED)
    assert failed.error_detail == "Its last attempt: ValueError"


def test_what_is_handed_back_waits_again_at_once_and_counts_nothing(sessions, run) -> None:
    held = taken(sessions, run)
    renew(sessions, held, lease_seconds=LEASE, progress=0.7)
    hand_back(sessions, held)
    waiting = read(sessions, run)
    assert (waiting.status, waiting.progress) == (TrainingStatus.QUEUED, 0.7)
    again = taken(sessions, run)
    assert (again.attempt, again.failures) == (2, 0)


def test_a_queued_run_is_cancelled_and_a_running_one_is_lost_to_its_trainer(
    sessions, dataset_id, run
) -> None:
    assert cancel(sessions, run.id, actor="key:k").status is TrainingStatus.CANCELLED
    assert claimed(sessions) is None
    running = ask(sessions, dataset_id)
    held = taken(sessions, running)
    cancel(sessions, running.id, actor="key:k")
    assert not renew(sessions, held, lease_seconds=LEASE, progress=0.5)
    assert not complete(sessions, held, RECORD)
    assert read(sessions, running).status is TrainingStatus.CANCELLED
    with pytest.raises(ConflictError, match="cancelled"):
        cancel(sessions, running.id, actor="key:k")
    with pytest.raises(NotFoundError):
        cancel(sessions, uuid.uuid4(), actor="key:k")
    assert audited(sessions).count("training.cancelled") == 2


def test_runs_are_listed_newest_first(sessions, dataset_id) -> None:
    runs = [ask(sessions, dataset_id) for _ in range(3)]
    cancel(sessions, runs[1].id, actor="key:k")
    assert [run.id for run in list_trainings(sessions, limit=2)] == [runs[2].id, runs[1].id]
    cancelled = list_trainings(sessions, status=TrainingStatus.CANCELLED, limit=5)
    assert [run.id for run in cancelled] == [runs[1].id]


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("status = 'done', finished_at = now()", "status_known"),
        ("protocol = 'published'", "protocol_known"),
        ("recipe = 'secret'", "recipe_known"),
        ("seeds = '{}'", "seeds_given"),
        ("status = 'running'", "lease_while_running"),
        ("status = 'running', lease_expires_at = now()", "worker_while_running"),
        ("seconds_left = 5", "seconds_left_while_running"),
        ("finished_at = now()", "finished_when_ended"),
        ("status = 'failed', finished_at = now()", "failure_has_code"),
        ("status = 'succeeded', finished_at = now()", "record_is_there"),
        ("progress = 1.1", "progress_is_fraction"),
        ("failures = 1", "failures_are_attempts"),
        ("dataset_id = gen_random_uuid()", "fk_training_runs_dataset_id"),
    ],
)
def test_the_database_itself_refuses_an_impossible_run(
    sessions, run, change: str, constraint: str
) -> None:
    with pytest.raises(IntegrityError, match=constraint):
        set_all(sessions, change)


def test_whoever_follows_a_run_is_told_at_once_and_to_its_end(
    sessions, run, database: Engine, monkeypatch
) -> None:
    monkeypatch.setattr("shared.trainings.watch.LOOK_SECONDS", 60)
    watch = TrainingWatch(database, sessions)
    held = taken(sessions, run)
    following = watch.follow(run.id)
    assert [event.kind for event in next(following)] == ["status", "status"]
    eventually(lambda: watch._listener.is_listening, 20)
    with ThreadPoolExecutor(1) as pool:
        for told, last in (([an_epoch(1)], "epoch"), (None, "status")):
            waiting = pool.submit(next, following)
            time.sleep(0.1)
            if told:
                renew(sessions, held, lease_seconds=LEASE, progress=0.5, told=told)
            else:
                complete(sessions, held, RECORD)
            assert [event.kind for event in waiting.result(30)] == [last]
    assert next(following, None) is None
    assert not watch._waiting
