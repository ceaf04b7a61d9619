"""What a promotion does to a service at work: nothing is lost, nothing is mixed."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from shared.client import Client
from shared.client.jobs import Job
from shared.db.roles.table import Role
from shared.local.service import LocalService
from tests.command_line import command_line
from tests.factories import smear_bytes
from tests.waiting import eventually

CLIENTS = 6
SWITCHES = 4
_BETWEEN_SECONDS = 1.5
_SEEN_WITHIN = 1.2
_FOLLOWED_WITHIN = 5.0


@dataclass(frozen=True)
class Admin:
    """Two administrators, who agree to promote what has passed no gate."""

    http: httpx.Client
    second_key: str

    def promote(self, name: str, version: int) -> float:
        """Make a version champion; gives the moment at which that was answered."""
        answer = self.http.put(
            f"/v1/models/{name}/aliases/champion",
            json={"version": version, "reason": "a test of promotions"},
            headers={"X-Second-Key": self.second_key},
        )
        assert answer.status_code == 200, answer.text
        assert answer.json()["aliases"]["champion"] == f"{name}@{version}"
        return time.monotonic()


@pytest.fixture
def admin(service: LocalService, client: Client) -> Iterator[Admin]:
    """The administrators; at last the champion is the one that was it."""
    made = command_line(
        "keys", "create", "--name=second", "--scopes=admin", **service.environment(Role.OPERATOR)
    )
    headers = {"Authorization": f"Bearer {service.api_key}"}
    with httpx.Client(base_url=service.url, headers=headers, trust_env=False, timeout=30) as http:
        both = Admin(http, made.stdout.strip())
        yield both
        both.promote("ensemble", 1)


@pytest.fixture
def fields(tmp_path: Path) -> list[Path]:
    """Three fields of one specimen."""
    paths = [tmp_path / f"{seed}.png" for seed in (1, 2, 3)]
    for seed, path in enumerate(paths):
        path.write_bytes(smear_bytes(seed))
    return paths


def submit_until(
    stop: threading.Event,
    service: LocalService,
    fields: list[Path],
    posted: list[tuple[float, str]],
) -> None:
    """Post jobs for the champion, one after the other; each with the moment before it was sent."""
    client = Client(service.url, service.api_key)
    while not stop.is_set():
        at = time.monotonic()
        job_id = client.submit(fields).id
        posted.append((at, job_id))
        client.wait(job_id)


def test_under_load_a_new_champion_loses_no_job_and_mixes_none(
    service: LocalService, client: Client, admin: Admin, fields: list[Path]
) -> None:
    versions = [("student", 2), ("cnn_custom", 1)]
    admin.promote(*versions[1])
    stop = threading.Event()
    switched: list[tuple[float, str]] = []
    posted: list[tuple[float, str]] = []
    with ThreadPoolExecutor(CLIENTS) as pool:
        posting = [pool.submit(submit_until, stop, service, fields, posted) for _ in range(CLIENTS)]
        try:
            for number in range(SWITCHES):
                time.sleep(_BETWEEN_SECONDS)
                name, version = versions[number % 2]
                switched.append((admin.promote(name, version), f"{name}@{version}"))
            last, champion = switched[-1]
            eventually(lambda: any(at > last + _SEEN_WITHIN for at, _ in posted))
        finally:
            stop.set()
    for poster in posting:
        poster.result()

    jobs = [(at, client.job(job_id)) for at, job_id in posted]
    assert Counter(job.status for _, job in jobs) == {"succeeded": len(jobs)}
    assert {of_result(job) for _, job in jobs} == {(f"{n}@{v}", 3) for n, v in versions}
    assert all(of_result(job)[0] == job.model for _, job in jobs)
    assert {job.model for at, job in jobs if at > last + _SEEN_WITHIN} == {champion}


def test_workers_and_api_follow_a_rollback_within_five_seconds(
    client: Client, admin: Admin, fields: list[Path]
) -> None:
    admin.promote("student", 1)
    admin.promote("cnn_custom", 1)
    answer = admin.http.post("/v1/models/rollback", json={"reason": "a test"})
    assert (answer.status_code, answer.json()["aliases"]["champion"]) == (200, "student@1")
    began = time.monotonic()
    while True:
        job = client.wait(client.submit(fields[:1]).id)
        if of_result(job) == ("student@1", 1):
            break
        assert time.monotonic() - began < _FOLLOWED_WITHIN


def of_result(job: Job) -> tuple[str, int]:
    """The version that gave a result, and for how many images."""
    (model,) = job.result.models
    return f"{model.name}@{model.version}", len(job.result.images)
