"""SIGTERM to a worker whose model call does not end: it leaves in time, and its jobs go back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.faults.load import Load
from tests.faults.pictures import POISON_PREFIX
from tests.faults.scene import undisturbed
from tests.faults.specials import poisoned
from tests.faults.verdict import job_states
from tests.faults.world import SHORT, World

GRACE_SECONDS = 6
_LIMIT_SECONDS = 300


@pytest.fixture
def world() -> Iterator[World]:
    """Its watchdog has more patience than the grace gives."""
    settings = {
        "HEMOTRIAGE_WORKER_GRACE_SECONDS": str(GRACE_SECONDS),
        "HEMOTRIAGE_WORK_LIMIT_SECONDS": str(_LIMIT_SECONDS),
    }
    with World(replace(SHORT, patience=60.0), change=poisoned, settings=settings) as running:
        undisturbed(running)
        yield running


def test_a_worker_hands_its_jobs_back_and_exits_with_0_within_the_grace(world: World) -> None:
    load = Load(world.service.url, world.service.api_key, "stop", pause=0)
    load.post(f"{POISON_PREFIX}hang_model", name="hanging")
    ids = [load.accepted[0].job_id]
    assert world.wait(30, until=lambda: job_states(world, ids)["running"] == 1)
    for number in range(5):
        load.post("1", name=f"waiting-{number}")
    ids = [accepted.job_id for accepted in load.accepted]
    assert world.wait(30, until=lambda: job_states(world, ids)["running"] == 6)

    worker = world.service.applications["worker"]
    began = time.monotonic()
    worker.ask_to_stop()
    while worker.is_running() and time.monotonic() - began < 2 * GRACE_SECONDS:
        time.sleep(0.05)
    took = time.monotonic() - began
    assert (worker.is_running(), worker.exit_code) == (False, 0)
    assert took < GRACE_SECONDS

    assert job_states(world, ids) == {"queued": 6}
    rows = world.query(
        "SELECT DISTINCT failures, isolated FROM jobs WHERE id = ANY(%s::uuid[])", ids
    )
    assert rows == [(0, False)], "nothing was counted against them"
    trail = world.query(
        "SELECT action, details ->> 'code' FROM audit_events WHERE action = %s", "job.requeued"
    )
    assert trail == [("job.requeued", "handed_back")] * 6
