"""Whoever waits for a job is told of its end, and looks for himself where nobody tells."""

from __future__ import annotations

import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, text

from shared.auth.tenants import DEFAULT_TENANT
from shared.errors import NotFoundError
from shared.jobs.cancel import cancel
from shared.jobs.watch import EndWatch
from tests.integration.jobs import finish, listeners, post, take
from tests.waiting import eventually

LONG = 60.0


@pytest.fixture
def ends(database: Engine, sessions) -> EndWatch:
    return EndWatch(database, sessions)


def waiting(ends: EndWatch) -> int:
    return sum(len(events) for events in ends._waiting.values())


def test_all_who_wait_are_told_and_none_has_to_look(
    ends, sessions, storage, key_id, monkeypatch
) -> None:
    monkeypatch.setattr("shared.jobs.watch.LOOK_SECONDS", LONG)
    jobs = [post(sessions, storage, key_id).job for _ in range(3)]
    earlier = listeners(sessions)
    with ThreadPoolExecutor(6) as pool:
        began = time.monotonic()
        told = [
            pool.submit(ends.wait, job.id, LONG, tenant=DEFAULT_TENANT)
            for job in jobs
            for _ in range(2)
        ]
        eventually(lambda: waiting(ends) == 6 and listeners(sessions) - earlier, 20)
        cancel(sessions, jobs[0].id, actor="key:k", tenant=DEFAULT_TENANT)
        finish(sessions, take(sessions, jobs[1]))
        finish(sessions, take(sessions, jobs[2]))
        for one in told:
            one.result(LONG)
    assert time.monotonic() - began < LONG
    assert waiting(ends) == 0
    assert not ends._waiting


def test_whoever_waits_for_a_job_of_his_process_asks_nothing_before_its_end(
    ends, sessions, storage, key_id, monkeypatch
) -> None:
    monkeypatch.setattr("shared.jobs.watch.LOOK_SECONDS", LONG)
    known_to_listen(ends, sessions)
    asked: list[str] = []
    monkeypatch.setattr("shared.jobs.watch.get_status", lambda *_, tenant: asked.append("status"))
    jobs = [post(sessions, storage, key_id).job for _ in range(2)]
    ends.accepted(jobs[0].id, tenant=DEFAULT_TENANT)
    cancel(
        sessions, jobs[1].id, actor="key:k", tenant=DEFAULT_TENANT
    )  # told before it is known as accepted
    eventually(lambda: jobs[1].id in ends._ended, 20)
    ends.accepted(jobs[1].id, tenant=DEFAULT_TENANT)
    with ThreadPoolExecutor(2) as pool:
        told = [pool.submit(ends.wait, job.id, LONG, tenant=DEFAULT_TENANT) for job in jobs]
        told[1].result(LONG / 2)
        eventually(lambda: waiting(ends) == 1, 20)
        cancel(sessions, jobs[0].id, actor="key:k", tenant=DEFAULT_TENANT)
        told[0].result(LONG / 2)
    assert asked == []


def test_an_end_before_anybody_waits_is_known_to_all_who_ask_later(
    ends, sessions, storage, key_id
) -> None:
    known_to_listen(ends, sessions)
    for accepted_first in (True, False):
        job = post(sessions, storage, key_id).job
        if accepted_first:
            ends.accepted(job.id, tenant=DEFAULT_TENANT)
        cancel(sessions, job.id, actor="key:k", tenant=DEFAULT_TENANT)
        eventually(lambda job=job: job.id in ends._ended, 20)
        if not accepted_first:
            ends.accepted(job.id, tenant=DEFAULT_TENANT)
        for _ in range(3):
            began = time.monotonic()
            ends.wait(job.id, LONG, tenant=DEFAULT_TENANT)
            assert time.monotonic() - began < 1.5, "it waited until it looked for itself"


def test_an_end_that_was_undone_is_waited_for_again(ends, sessions, storage, key_id) -> None:
    known_to_listen(ends, sessions)
    job = post(sessions, storage, key_id).job
    ends._wake(job.id)  # as if it had ended, and an operator had queued it again
    began = time.monotonic()
    ends.wait(job.id, LONG, tenant=DEFAULT_TENANT)
    assert time.monotonic() - began < LONG
    ends.wait(job.id, 0.5, tenant=DEFAULT_TENANT)
    assert time.monotonic() - began > 0.5


def known_to_listen(ends: EndWatch, sessions) -> None:
    with pytest.raises(NotFoundError):
        ends.wait(uuid.uuid4(), 0, tenant=DEFAULT_TENANT)
    eventually(lambda: ends._is_told, 20)


def test_a_job_that_has_ended_is_not_waited_for(ends, sessions, storage, key_id) -> None:
    job = post(sessions, storage, key_id).job
    cancel(sessions, job.id, actor="key:k", tenant=DEFAULT_TENANT)
    began = time.monotonic()
    ends.wait(job.id, LONG, tenant=DEFAULT_TENANT)
    assert time.monotonic() - began < LONG


def test_the_wait_ends_with_its_time(ends, sessions, storage, key_id) -> None:
    job = post(sessions, storage, key_id).job
    began = time.monotonic()
    ends.wait(job.id, 0.5, tenant=DEFAULT_TENANT)
    assert 0.5 <= time.monotonic() - began < LONG


def test_an_unknown_job_is_not_waited_for(ends) -> None:
    with pytest.raises(NotFoundError):
        ends.wait(uuid.uuid4(), LONG, tenant=DEFAULT_TENANT)
    assert waiting(ends) == 0


def test_an_end_that_nobody_tells_is_seen_and_the_next_one_is_told_again(
    ends, sessions, storage, key_id, monkeypatch
) -> None:
    job = post(sessions, storage, key_id).job
    earlier = listeners(sessions)
    waiter = threading.Thread(
        target=ends.wait, args=(job.id, LONG), kwargs={"tenant": DEFAULT_TENANT}
    )
    waiter.start()
    eventually(lambda: listeners(sessions) - earlier, 20)
    (own,) = listeners(sessions) - earlier
    monkeypatch.setattr("shared.db.listen._PAUSE_SECONDS", 5.0)
    with sessions.begin() as session:
        session.execute(text(f"SELECT pg_terminate_backend({own})"))
    eventually(lambda: own not in listeners(sessions), 20)
    cancel(sessions, job.id, actor="key:k", tenant=DEFAULT_TENANT)
    waiter.join(LONG / 2)
    assert not waiter.is_alive(), "it did not look for itself"
    eventually(lambda: listeners(sessions) - earlier, 20)
