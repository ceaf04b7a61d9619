"""What the trainer makes of its child's reports and ends, whatever those are."""

from __future__ import annotations

import datetime as dt
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from sqlalchemy import text

from services.trainer.device_lock import device_lock
from services.trainer.finish import finish, run_folder
from services.trainer.runner import Runner
from shared.db.models import TrainingRunRow
from shared.db.session import Sessions
from shared.settings import Settings
from shared.storage.s3 import S3Store
from shared.trainings.claim import ABANDONED
from shared.trainings.queue import cancel, events, get_training, request
from shared.trainings.states import EventKind, TrainingRun, TrainingStatus
from tests.trainings import a_ready_dataset, a_request
from tests.waiting import eventually

LEASE_SECONDS = 2

Start = Callable[[], tuple[threading.Event, threading.Thread]]


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "work"


@pytest.fixture
def start(
    settings: Settings, servers, sessions: Sessions, work: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Start]:
    """Starts a trainer, whose children train nothing; it is stopped by the event."""
    monkeypatch.setattr("services.trainer.child_process._CHILD", "tests.trainer_child")
    monkeypatch.setattr("services.trainer.runner.LOOK_SECONDS", 0.1)
    for name, value in {**servers.environment(), "HEMOTRIAGE_TRAINER_WORK": str(work)}.items():
        monkeypatch.setenv(name, value)
    own = settings.model_copy(update={"trainer_work": work, "lease_seconds": LEASE_SECONDS})
    storage = S3Store(own, pool_size=1)
    running: list[tuple[threading.Event, threading.Thread]] = []

    def begin() -> tuple[threading.Event, threading.Thread]:
        stopping = threading.Event()
        thread = threading.Thread(target=Runner(own, sessions, storage, stopping).run)
        thread.start()
        running.append((stopping, thread))
        return running[-1]

    yield begin
    for stopping, thread in running:
        stopping.set()
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture
def ask(sessions: Sessions) -> Callable[[str], TrainingRun]:
    """Asks for a run whose child does what its name says."""
    dataset_id = a_ready_dataset(sessions)
    return lambda name: request(sessions, a_request(dataset_id, name=name), actor="key:k")


def ended(sessions: Sessions, run: TrainingRun) -> TrainingRun:
    eventually(lambda: get_training(sessions, run.id).status.is_final, 60)
    return get_training(sessions, run.id)


def children() -> list[psutil.Process]:
    return [one for one in psutil.Process().children() if "tests.trainer_child" in one.cmdline()]


def test_what_a_child_reports_is_written_and_its_record_ends_the_run(sessions, start, ask) -> None:
    runs = [ask("first"), ask("second")]
    start()
    for run in runs:
        done = ended(sessions, run)
        assert (done.status, done.attempts) == (TrainingStatus.SUCCEEDED, 1)
        assert (done.record, done.device) == (
            {"models": {run.name: {}}, "registered": None},
            "a device",
        )
        told = events(sessions, run.id, kinds=[EventKind.LOG, EventKind.EPOCH])
        assert [one.document for one in told] == [
            {"text": "attempt 1"},
            {"seed": 1, "epoch": 1},
        ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cannot", (1, "dataset_invalid", "no Pro")),
        ("crashes", (3, ABANDONED, "SIGKILL.")),
        ("bug", (3, ABANDONED, "ValueError")),
        ("torn", (3, ABANDONED, "JSONDecodeError")),
    ],
)
def test_how_a_child_ends_tells_whether_it_is_tried_again(
    sessions, start, ask, name: str, expected: tuple[int, str, str]
) -> None:
    attempts, code, detail = expected
    run = ask(name)
    start()
    eventually(
        lambda: get_training(sessions, run.id).status.is_final,
        60,
        meanwhile=lambda: make_due(sessions),
    )
    failed = get_training(sessions, run.id)
    assert (failed.status, failed.attempts) == (TrainingStatus.FAILED, attempts)
    assert failed.error_code == code
    assert failed.error_detail.endswith(detail)
    assert "Lovelace" not in failed.error_detail
    epochs = events(sessions, run.id, kinds=[EventKind.EPOCH])
    assert len(epochs) == 1, "told in each attempt, written once"


def make_due(sessions: Sessions) -> None:
    with sessions.begin() as session:
        session.execute(text("UPDATE training_runs SET due_at = now() WHERE status = 'queued'"))


def test_an_outage_puts_the_run_back_and_counts_nothing(sessions, start, ask) -> None:
    run = ask("outage")
    start()
    eventually(lambda: get_training(sessions, run.id).attempts == 1, 60)
    eventually(lambda: get_training(sessions, run.id).status is TrainingStatus.QUEUED, 60)
    assert get_training(sessions, run.id).failures == 0


def test_a_cancelled_run_is_stopped_and_the_next_one_begins(sessions, start, ask) -> None:
    run = ask("goes on")
    later = ask("later")
    start()
    eventually(lambda: get_training(sessions, run.id).progress == 0.5, 60)
    (child,) = children()
    cancel(sessions, run.id, actor="key:k")
    assert ended(sessions, later).status is TrainingStatus.SUCCEEDED
    assert not child.is_running()
    assert get_training(sessions, run.id).status is TrainingStatus.CANCELLED


def test_a_trainer_that_stops_hands_back_what_it_has(sessions, start, ask) -> None:
    run = ask("goes on")
    stopping, thread = start()
    eventually(lambda: get_training(sessions, run.id).progress == 0.5, 60)
    stopping.set()
    thread.join(30)
    back = get_training(sessions, run.id)
    assert (back.status, back.attempts, back.failures) == (TrainingStatus.QUEUED, 1, 0)
    assert children() == []


def test_a_lost_database_stops_no_training(sessions, start, ask, database) -> None:
    run = ask("goes on")
    start()
    eventually(lambda: get_training(sessions, run.id).progress == 0.5, 60)
    (child,) = children()
    database.dispose()
    with database.connect() as connection:
        others = "FROM pg_stat_activity WHERE usename = current_user AND pid <> pg_backend_pid()"
        before = connection.scalar(text("SELECT now()"))
        connection.execute(text(f"SELECT pg_terminate_backend(pid) {others}"))
    eventually(lambda: lease_of(sessions, run) > before + dt.timedelta(seconds=3), 30)
    assert child.is_running()
    assert get_training(sessions, run.id).attempts == 1


def test_a_slow_store_costs_no_trainer_its_run(sessions, start, ask, monkeypatch) -> None:
    held: list[dt.timedelta] = []

    def slowly(*arguments: object) -> bool:
        time.sleep(3 * LEASE_SECONDS)
        held.append(lease_of(sessions, run) - dt.datetime.now(dt.UTC))
        return finish(*arguments)

    monkeypatch.setattr("services.trainer.runner.finish", slowly)
    run = ask("slow store")
    start()
    done = ended(sessions, run)
    assert (done.status, done.attempts) == (TrainingStatus.SUCCEEDED, 1)
    assert held[0] > dt.timedelta(0)


def lease_of(sessions: Sessions, run: TrainingRun) -> dt.datetime:
    with sessions() as session:
        return session.get(TrainingRunRow, run.id).lease_expires_at


def test_two_trainers_with_one_work_folder_train_one_run_at_a_time(sessions, start, ask) -> None:
    first = ask("goes on")
    start()
    eventually(lambda: get_training(sessions, first.id).progress == 0.5, 60)
    second = ask("waits")
    start()
    with pytest.raises(AssertionError):
        eventually(lambda: get_training(sessions, second.id).attempts, 2)
    cancel(sessions, first.id, actor="key:k")
    assert ended(sessions, second).status is TrainingStatus.SUCCEEDED


def test_a_device_is_free_once_all_who_hold_it_are_gone(work: Path) -> None:
    with device_lock(work) as held:
        assert held is not None
        inherited = os.dup(held)
        with device_lock(work) as other:
            assert other is None
    with device_lock(work) as other:
        assert other is None, "a child has the file open"
    os.close(inherited)
    with device_lock(work) as other:
        assert other is not None


def test_what_a_child_prints_is_kept_beside_its_run(sessions, start, ask, work: Path) -> None:
    run = ask("prints")
    start()
    ended(sessions, run)
    log = (run_folder(work, run.id) / "child.log").read_text()
    assert "what a library prints is no report" in log
