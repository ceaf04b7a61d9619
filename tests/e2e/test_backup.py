"""A service under load is backed up; what is restored elsewhere answers as it did."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from shared.client import Client
from shared.local.ports import free_ports
from shared.local.servers import LocalServers
from shared.local.service import LocalService
from shared.local.synthetic import draw_smear
from tests.command_line import command_line
from tests.waiting import eventually

pytestmark = [pytest.mark.exhaustive, pytest.mark.slow, pytest.mark.timeout(900)]


class Load:
    """Somebody who posts, one job after the other."""

    def __init__(self, client: Client, folder: Path) -> None:
        self._client = client
        self._image = folder / "smear.png"
        draw_smear(1).save(self._image)
        self._stop = threading.Event()
        self.jobs: list[str] = []
        self._thread = threading.Thread(target=self._post)

    def _post(self) -> None:
        while not self._stop.wait(0.2):
            self.jobs.append(self._client.submit([self._image]).id)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive()


@pytest.fixture
def folder(service_folder: Path) -> Path:
    """Where the second service is."""
    return service_folder / "restored"


@pytest.fixture
def backed_up(service: LocalService, client: Client, tmp_path: Path) -> Iterator[Path]:
    """A backup that was made while jobs were posted and done."""
    place = tmp_path / "place"
    workers = [one for name, one in service.applications.items() if name.startswith("worker")]
    with Load(client, tmp_path) as load:
        eventually(lambda: len(load.jobs) > 10)
        client.wait(load.jobs[5])
        # So that some jobs wait, or are under way, at the moment of the backup.
        for worker in workers:
            worker.pause()
        try:
            posted = len(load.jobs)
            eventually(lambda: len(load.jobs) > posted + 5)
            done = command_line("backup", place, **service.environment())
        finally:
            for worker in workers:
                worker.resume()
        posted = len(load.jobs)
        eventually(lambda: len(load.jobs) > posted + 5)
    assert done.returncode == 0, done.stderr
    yield place


def test_what_is_restored_answers_as_it_did_and_goes_on(
    service: LocalService, client: Client, backed_up: Path, folder: Path
) -> None:
    with LocalServers(folder) as servers:
        done = command_line("restore", backed_up, **servers.environment())
        assert done.returncode == 0, done.stderr
        engine = create_engine(servers.environment()["HEMOTRIAGE_DATABASE_URL"])
        with engine.connect() as connection:
            jobs = dict(connection.execute(text("SELECT id::text, status FROM jobs")).all())
        engine.dispose()
    ended = [job for job, status in jobs.items() if status == "succeeded"]
    open_ones = [job for job, status in jobs.items() if status in ("queued", "running")]
    assert ended
    assert open_ones
    settings = {"HEMOTRIAGE_API_PORT": str(free_ports(1)[0])}
    with LocalService(folder, settings=settings) as restored:
        second = Client(restored.url, service.api_key)
        for job in open_ones:
            assert second.wait(job, timeout=120).status == "succeeded"
            assert json.loads(second.result(job))["prediction"]
        for job in ended:
            assert second.job(job) == client.job(job), "it is not done again"
            assert second.result(job) == client.result(job)
            assert second.image(job, 0) == client.image(job, 0)
