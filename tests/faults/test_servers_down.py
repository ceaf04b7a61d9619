"""A process is killed under the running service: nothing that was accepted is lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from shared.client import Client, RefusedError
from shared.local.service import LocalService
from shared.local.synthetic import draw_smear

AT_ONCE_SECONDS = 20  # no hang; the usual answer takes milliseconds


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("drawn") / "smear.png"
    draw_smear(1).save(path)
    return path


@pytest.fixture(autouse=True)
def everything_runs_again(service: LocalService) -> Iterator[None]:
    yield
    service.ensure_alive()


def finish(service: LocalService, client: Client, ids: list[str], seconds: float = 90) -> list[str]:
    """Keep the service alive, as its supervisor does, until the jobs have ended."""
    deadline = time.monotonic() + seconds
    statuses: list[str] = []
    while time.monotonic() < deadline:
        service.ensure_alive()
        statuses = [client.job(job_id).status for job_id in ids]
        if not {"queued", "running"} & set(statuses):
            break
        time.sleep(0.2)
    return statuses


def checks(service: LocalService) -> dict[str, str]:
    found: dict[str, str] = httpx.get(f"{service.url}/readyz", timeout=30).json()["checks"]
    return found


def test_intake_goes_on_without_the_broker_and_the_jobs_run_once_it_is_back(
    service: LocalService, client: Client, image: Path
) -> None:
    service.servers.valkey.kill()
    started = time.monotonic()
    ids = [client.submit([image]).id for _ in range(5)]
    assert time.monotonic() - started < AT_ONCE_SECONDS
    assert checks(service)["broker"] == "broker_unavailable"
    assert {client.job(job_id).status for job_id in ids} == {"queued"}
    assert finish(service, client, ids) == ["succeeded"] * 5


@pytest.mark.parametrize(
    "down",
    [
        ("seaweedfs", "storage_unavailable", "object_store"),
        ("postgres", "database_unavailable", "database"),
    ],
)
def test_intake_is_refused_at_once_without_a_store_and_goes_on_once_it_is_back(
    service: LocalService, client: Client, image: Path, down: tuple[str, str, str]
) -> None:
    server, code, check = down
    before = client.submit([image]).id
    service.servers.processes[server].kill()
    started = time.monotonic()
    with pytest.raises(RefusedError) as refused:
        client.submit([image])
    assert refused.value.code == code
    assert checks(service)[check] != "ok"
    assert time.monotonic() - started < AT_ONCE_SECONDS
    service.ensure_alive()
    after = client.submit([image]).id
    assert finish(service, client, [before, after]) == ["succeeded"] * 2


@pytest.mark.parametrize(
    ("server", "expected"), [("valkey", "accepted"), ("seaweedfs", "storage_unavailable")]
)
def test_intake_does_not_hang_on_a_frozen_server(
    service: LocalService, client: Client, image: Path, server: str, expected: str
) -> None:
    frozen = service.servers.processes[server]
    frozen.pause()
    try:  # the client gives up after 60 seconds, with another error
        job_id, outcome = client.submit([image]).id, "accepted"
    except RefusedError as refused:
        job_id, outcome = None, refused.code
    finally:
        frozen.resume()
    assert outcome == expected
    last = client.submit([image]).id
    ids = [last] if job_id is None else [job_id, last]
    assert set(finish(service, client, ids)) == {"succeeded"}


def test_a_worker_that_is_asked_to_stop_finishes_what_it_runs(
    service: LocalService, client: Client, image: Path
) -> None:
    ids = [client.submit([image] * 16).id for _ in range(8)]
    worker = service.applications["worker"]
    worker.stop()
    statuses = {client.job(job_id).status for job_id in ids}
    assert "running" not in statuses, "it left no job in the middle"
    assert finish(service, client, ids) == ["succeeded"] * 8


def test_a_killed_api_and_a_killed_relay_come_back(
    service: LocalService, client: Client, image: Path, caplog: pytest.LogCaptureFixture
) -> None:
    accepted = client.submit([image]).id
    for name in ("api", "relay"):
        service.applications[name].kill()
    time.sleep(2.1)  # the supervisor restarts a process at most every two seconds
    service.ensure_alive()
    for name in ("api", "relay"):
        assert f"restarting {name}; its log is {service.applications[name].spec.log}" in caplog.text
    service.applications["api"].wait_ready()
    assert finish(service, client, [accepted, client.submit([image]).id]) == ["succeeded"] * 2
