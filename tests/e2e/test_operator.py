"""What an operator does about jobs at the command line."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from shared.client import Client
from shared.db.roles.table import Role
from shared.local.service import LocalService
from shared.local.synthetic import draw_smear
from tests.command_line import command_line


@pytest.fixture
def dead_letter(service: LocalService, client: Client, tmp_path: Path) -> str:
    """A job that no worker took before its time was over."""
    image = tmp_path / "smear.png"
    draw_smear(1).save(image)
    workers = [one for name, one in service.applications.items() if name.startswith("worker")]
    for worker in workers:
        worker.pause()
    try:
        job_id = client.submit([image]).id
        engine = create_engine(service.environment()["HEMOTRIAGE_DATABASE_URL"])
        with engine.begin() as connection:
            changed = connection.execute(
                text("UPDATE jobs SET expires_at = now() WHERE id = :id"), {"id": job_id}
            )
            assert changed.rowcount == 1
        engine.dispose()
        deadline = time.monotonic() + 30
        while client.job(job_id).status == "queued" and time.monotonic() < deadline:
            time.sleep(0.1)
    finally:
        for worker in workers:
            worker.resume()
    return job_id


def test_a_dead_letter_is_listed_with_its_reason_and_requeued_to_a_result(
    service: LocalService, client: Client, dead_letter: str
) -> None:
    environment = service.environment(Role.OPERATOR)
    job = client.job(dead_letter)
    assert (job.status, job.error.code) == ("dead", "expired")
    listed = command_line("jobs", "list", **environment).stdout.splitlines()
    line = next(line for line in listed if line.startswith(dead_letter))
    assert "expired: " in line
    other = command_line("jobs", "requeue", "--dead", "--code", "lease_expired", **environment)
    assert (other.returncode, other.stdout) == (0, "")
    done = command_line("jobs", "requeue", "--dead", "--code", "expired", **environment)
    assert done.stdout == f"requeued {dead_letter}\n"
    assert client.wait(dead_letter, timeout=60).status == "succeeded"


def test_a_job_that_succeeded_is_not_requeued(
    service: LocalService, client: Client, tmp_path: Path
) -> None:
    image = tmp_path / "smear.png"
    draw_smear(1).save(image)
    job_id = client.submit([image]).id
    client.wait(job_id)
    environment = service.environment(Role.OPERATOR)
    listed = command_line("jobs", "list", "--status", "succeeded", **environment)
    assert job_id in listed.stdout
    refused = command_line("jobs", "requeue", job_id, **environment)
    assert refused.returncode == 1
    assert "hemotriage: conflict:" in refused.stderr
    for wrong in ([], [job_id, "--dead"], ["--code", "expired"], ["no-id"]):
        assert command_line("jobs", "requeue", *wrong, **environment).returncode == 2
