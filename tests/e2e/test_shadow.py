"""A real challenger beside the real champion: it looks on, through a kill, until it is retired."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from shared.client import Client
from shared.db.session import Sessions, create_database, create_sessions
from shared.local.service import LocalService
from tests.conftest import settings_of
from tests.factories import smear_bytes
from tests.integration.shadows import CHALLENGER, challenge, retire, rows
from tests.waiting import eventually


@pytest.fixture
def shadowed(service: LocalService) -> Iterator[Sessions]:
    """The database of a service that has a challenger."""
    service.ensure_alive()
    database = create_database(settings_of(service.environment()), pool_size=1)
    sessions = create_sessions(database)
    challenge(sessions)
    yield sessions
    retire(sessions)
    database.dispose()


@pytest.fixture
def smears(tmp_path: Path) -> list[Path]:
    """Six drawn fields."""
    paths = [tmp_path / f"{seed}.png" for seed in range(6)]
    for seed, path in enumerate(paths):
        path.write_bytes(smear_bytes(seed))
    return paths


def submit(client: Client, smears: list[Path]) -> set[uuid.UUID]:
    """A job each, for another model than the challenger; gives their ids when all are finished."""
    ids = [client.submit([smear], fields={"model": "student"}).id for smear in smears]
    assert {client.wait(job_id).status for job_id in ids} == {"succeeded"}
    return {uuid.UUID(job_id) for job_id in ids}


def children(service: LocalService) -> list[psutil.Process]:
    """What the shadow process computes in."""
    found = psutil.Process(service.applications["shadow"].pid).children()
    return [
        child for child in found if not is_gone(child) and "spawn_main" in " ".join(child.cmdline())
    ]


def is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def libraries(process: psutil.Process) -> str:
    return Path(f"/proc/{process.pid}/maps").read_text()


def test_the_challenger_looks_at_what_was_answered_and_the_answer_stays(
    service: LocalService, client: Client, shadowed: Sessions, smears: list[Path]
) -> None:
    (job_id,) = submit(client, smears[:1])
    answered = client.job(str(job_id))
    eventually(lambda: job_id in rows(shadowed))
    row = rows(shadowed)[job_id]
    assert (row.name, row.version, row.error_code) == (*CHALLENGER, None)
    assert row.document["models"][0]["name"] == "cnn_custom"
    assert client.job(str(job_id)) == answered
    assert answered.result.models[0].name == "student"


@pytest.mark.exhaustive
def test_one_that_is_killed_comes_back_and_misses_no_job(
    service: LocalService, client: Client, shadowed: Sessions, smears: list[Path]
) -> None:
    jobs = submit(client, smears)
    eventually(lambda: jobs & {*rows(shadowed)})
    (child,) = children(service)
    os.kill(service.applications["shadow"].pid, signal.SIGKILL)
    eventually(lambda: is_gone(child), 60)
    jobs |= submit(client, smears[:2])
    eventually(lambda: jobs <= {*rows(shadowed)}, meanwhile=service.ensure_alive)
    assert all(rows(shadowed)[job_id].document for job_id in jobs)


def test_one_that_is_stopped_ends_at_once_and_takes_its_child_with_it(
    service: LocalService, client: Client, shadowed: Sessions, smears: list[Path]
) -> None:
    shadow = service.applications["shadow"]
    jobs = submit(client, smears)
    eventually(lambda: jobs & {*rows(shadowed)})
    (child,) = children(service)
    shadow.ask_to_stop()
    eventually(lambda: not shadow.is_running(), 60)
    assert shadow.exit_code == 0
    eventually(lambda: is_gone(child), 60)
    eventually(lambda: jobs <= {*rows(shadowed)}, meanwhile=service.ensure_alive)


def test_a_retired_challenger_leaves_nothing_in_memory(
    service: LocalService, client: Client, shadowed: Sessions, smears: list[Path]
) -> None:
    (job_id,) = submit(client, smears[:1])
    eventually(lambda: job_id in rows(shadowed))
    (child,) = children(service)
    assert "openvino" in libraries(child)
    retire(shadowed)
    eventually(lambda: is_gone(child), 60)
    assert children(service) == []
    assert "openvino" not in libraries(psutil.Process(service.applications["shadow"].pid))
