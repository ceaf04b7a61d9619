"""A challenger looks at what others have answered, and changes nothing of it."""

from __future__ import annotations

import datetime as dt
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from sqlalchemy import text

from services.worker import shadow as shadow_module
from services.worker.batcher import NotNowError
from services.worker.inference import JobRunner
from services.worker.isolation import Isolation
from services.worker.shadow import Shadow
from shared.auth.tenants import DEFAULT_TENANT
from shared.db.models import ResultRow
from shared.db.session import Sessions
from shared.errors import AttemptCrashedError, CorruptImageError
from shared.jobs.claim import Claim
from shared.jobs.queries import get_job
from shared.settings import Settings
from shared.storage import StorageUnavailableError
from shared.storage.s3 import S3Store
from shared.triage.result import TriageResult
from tests.integration.jobs import age, post, take
from tests.integration.shadows import (
    CHALLENGER,
    CHAMPION,
    answered_at,
    challenge,
    everything_but_shadows,
    finished,
    retire,
    rows,
    said,
    set_back,
    waiting,
)
from tests.waiting import eventually

PAUSE = 0.02
Make = Callable[[Claim], TriageResult]
Run = Callable[..., Shadow]


@pytest.fixture
def finish_one(sessions: Sessions, storage: S3Store, key_id: str) -> Callable[..., uuid.UUID]:
    """Finishes a job, as the champion's unless another is named."""
    return partial(finished, sessions, storage, key_id)


@pytest.fixture
def run(sessions: Sessions) -> Iterator[Run]:
    """Starts the thread that works, and looks once who is challenger."""
    started: list[Shadow] = []

    def start(make: Make, end: Callable[[], object] = bool) -> Shadow:
        shadow = Shadow(sessions, make, end, pause=PAUSE)
        started.append(shadow)
        shadow.look()
        shadow.start()
        return shadow

    yield start
    for shadow in started:
        shadow.close()


@pytest.fixture
def isolation(settings: Settings) -> Iterator[Isolation]:
    running = Isolation(settings)
    yield running
    running.close()


@pytest.fixture
def own_answer(
    sessions: Sessions, storage: S3Store, key_id: str, runner: JobRunner
) -> dict[str, Any]:
    """What the challenger answers a job of its own, with the image that all jobs here have."""
    job = post(sessions, storage, key_id).job
    runner.run(job.id, worker="w1")
    answer = get_job(sessions, job.id, tenant=DEFAULT_TENANT).result
    assert answer is not None
    return answer


def agreeing(held: Claim) -> TriageResult:
    return said(held.job_id)


class Server:
    """Whoever makes results, out of order until it is mended."""

    def __init__(
        self, error: Exception | None = None, broken: set[uuid.UUID] | None = None
    ) -> None:
        self.error = error
        self.broken = broken
        self.asked: list[uuid.UUID] = []

    def __call__(self, held: Claim) -> TriageResult:
        self.asked.append(held.job_id)
        if self.error is not None and (self.broken is None or held.job_id in self.broken):
            raise self.error
        return agreeing(held)


def test_the_challenger_says_what_it_would_have_answered_and_nothing_else_changes(
    sessions: Sessions, own_answer: dict[str, Any], isolation: Isolation, run: Run, finish_one
) -> None:
    challenge(sessions)
    shadowed = finish_one(callback_url="https://lis.example.org/told")
    before = everything_but_shadows(sessions)
    run(isolation)
    eventually(lambda: waiting(sessions) == [])
    assert everything_but_shadows(sessions) == before
    (row,) = rows(sessions).values()
    assert (row.job_id, row.name, row.version) == (shadowed, *CHALLENGER)
    assert row.document["job_id"] == str(shadowed)
    assert set(row.document["timings_ms"]) == set(own_answer["timings_ms"])
    for name in ("job_id", "created_at", "timings_ms"):
        del row.document[name], own_answer[name]
    assert row.document == own_answer


def test_it_takes_nothing_while_a_live_job_waits(
    sessions: Sessions, storage: S3Store, key_id: str, run: Run, finish_one
) -> None:
    challenge(sessions)
    finish_one()
    live = post(sessions, storage, key_id).job
    age(sessions, 2)
    run(agreeing)
    time.sleep(20 * PAUSE)
    assert rows(sessions) == {}
    assert take(sessions, live) is not None
    eventually(lambda: waiting(sessions) == [], 10)


def test_a_job_that_is_tried_again_later_does_not_count_as_waiting(
    sessions: Sessions, storage: S3Store, key_id: str, run: Run, finish_one
) -> None:
    challenge(sessions)
    finish_one()
    post(sessions, storage, key_id)
    age(sessions, -30)
    run(agreeing)
    eventually(lambda: waiting(sessions) == [], 10)


def test_a_challenger_that_is_retired_in_the_middle_of_a_job_leaves_no_row(
    sessions: Sessions, run: Run, finish_one
) -> None:
    challenge(sessions)
    finish_one()
    began, ended = threading.Event(), threading.Event()

    def until_it_is_ended(held: Claim) -> TriageResult:
        began.set()
        assert ended.wait(10)
        raise AttemptCrashedError

    shadow = run(until_it_is_ended, ended.set)
    ended.clear()
    assert began.wait(10)
    shadow.look()
    assert not ended.is_set(), "it is still challenger"
    retire(sessions)
    shadow.look()
    assert ended.is_set()
    time.sleep(10 * PAUSE)
    assert rows(sessions) == {}


def test_what_is_said_by_one_that_is_no_longer_challenger_is_not_kept(
    sessions: Sessions, run: Run, finish_one
) -> None:
    challenge(sessions)
    finish_one()
    began, go_on = threading.Event(), threading.Event()

    def slowly(held: Claim) -> TriageResult:
        began.set()
        assert go_on.wait(10)
        return agreeing(held)

    shadow = run(slowly)
    assert began.wait(10)
    challenge(sessions, "student", 3)
    shadow.look()
    later = finish_one()
    go_on.set()
    eventually(lambda: rows(sessions), 10)
    assert [(row.job_id, row.name) for row in rows(sessions).values()] == [(later, "student")]


@pytest.mark.parametrize("error", [StorageUnavailableError(), NotNowError("it does not start")])
def test_an_outage_is_waited_for(sessions: Sessions, run: Run, finish_one, error) -> None:
    challenge(sessions)
    jobs = {finish_one(), finish_one()}
    server = Server(error)
    run(server)
    eventually(lambda: len(server.asked) > 2, 10)
    assert len(set(server.asked)) == 1, "the others wait behind it"
    assert rows(sessions) == {}
    server.error = None
    eventually(lambda: waiting(sessions) == [], 10)
    assert {job_id for job_id, row in rows(sessions).items() if row.agrees} == jobs


def test_an_image_that_no_challenger_can_read_is_kept_as_an_error(
    sessions: Sessions, run: Run, finish_one
) -> None:
    challenge(sessions)
    job_id = finish_one()
    run(Server(CorruptImageError()))
    eventually(lambda: waiting(sessions) == [], 10)
    row = rows(sessions)[job_id]
    assert (row.agrees, row.document, row.error_code) == (None, None, "corrupt_image")


@pytest.mark.parametrize("error", [AttemptCrashedError(), ValueError("a defect")])
def test_a_job_that_crashes_the_challenger_keeps_no_other_from_its_turn(
    sessions: Sessions, run: Run, finish_one, error
) -> None:
    challenge(sessions)
    bad, good = finish_one(), finish_one()
    server = Server(error, {bad})
    run(server)
    eventually(lambda: good in rows(sessions), 10)
    late = finish_one()
    eventually(lambda: late in rows(sessions), 10)
    time.sleep(10 * PAUSE)
    assert server.asked == [bad, good, late], "it is not tried again at once"
    assert waiting(sessions) == [bad]


def test_a_job_that_crashes_the_challenger_twice_is_counted_as_an_error(
    sessions: Sessions, run: Run, finish_one, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadow_module, "_WHOLE_LOOK_EVERY", dt.timedelta(0))
    challenge(sessions)
    bad = finish_one()
    server = Server(AttemptCrashedError(), {bad})
    run(server)
    eventually(lambda: bad in rows(sessions), 10)
    assert (rows(sessions)[bad].error_code, server.asked) == ("attempt_crashed", [bad, bad])


def test_a_result_that_is_committed_late_is_found(
    sessions: Sessions, storage: S3Store, key_id: str, run: Run, finish_one
) -> None:
    challenge(sessions)
    run(agreeing)
    late = post(sessions, storage, key_id, **CHAMPION).job
    assert take(sessions, late) is not None
    with sessions.begin() as session:
        session.execute(text("SELECT 1"))  # which dates all that is written in it
        between = finish_one()
        eventually(lambda: between in rows(sessions), 10)
        time.sleep(5 * PAUSE)
        of_result = said(late.id)
        session.add(
            ResultRow(
                job_id=late.id,
                prediction=of_result.prediction,
                confidence=of_result.confidence,
                urgency=of_result.urgency,
                requires_review=False,
                policy_version=of_result.policy_version,
                document=of_result.model_dump(mode="json"),
            )
        )
    eventually(lambda: late.id in rows(sessions), 10)
    (before, after) = (answered_at(sessions, late.id), answered_at(sessions, between))
    assert before < after, "it was not late"


def test_now_and_then_it_looks_from_the_beginning(
    sessions: Sessions, run: Run, finish_one, monkeypatch: pytest.MonkeyPatch
) -> None:
    challenge(sessions)
    set_back(sessions, 60)
    bad, good = finish_one(), finish_one()
    server = Server(AttemptCrashedError(), {bad})
    run(server)
    eventually(lambda: good in rows(sessions), 10)
    hidden = finish_one(model_name=CHALLENGER[0], model_version=CHALLENGER[1])
    set_back(sessions, 30, hidden)
    with sessions.begin() as session:  # as if another's result came very late
        session.execute(text("UPDATE jobs SET model_version = 2"))
    server.error = None
    time.sleep(5 * PAUSE)
    assert set(waiting(sessions)) == {bad, hidden}
    monkeypatch.setattr(shadow_module, "_WHOLE_LOOK_EVERY", dt.timedelta(0))
    eventually(lambda: waiting(sessions) == [], 10)


def test_a_second_process_does_no_harm(sessions: Sessions, run: Run, finish_one) -> None:
    challenge(sessions)
    jobs = [finish_one() for _ in range(6)]
    servers = [Server() for _ in range(2)]
    for server in servers:
        run(server)
    eventually(lambda: waiting(sessions) == [], 10)
    assert set(rows(sessions)) == set(jobs)
    for server in servers:
        assert len(server.asked) == len(set(server.asked))
