"""What a result rests on, from real processes: on demand, by either method, through a crash."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg2
import pytest
from PIL import Image

from shared.client import Client
from shared.local.ports import free_ports
from shared.local.service import LocalService
from shared.local.synthetic import SYNTHETIC_SMEAR
from tests.command_line import command_line
from tests.waiting import eventually


@pytest.fixture
def http(service: LocalService) -> Iterator[httpx.Client]:
    service.ensure_alive()
    headers = {"Authorization": f"Bearer {service.api_key}"}
    with httpx.Client(
        base_url=service.url, headers=headers, timeout=60, trust_env=False
    ) as connected:
        yield connected


def rows(service: LocalService, query: str) -> list[tuple[int]]:
    dsn = service.environment()["HEMOTRIAGE_DATABASE_URL"].replace("+psycopg2", "")
    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return list(cursor.fetchall())


def a_result(client: Client, model: str = "cnn_custom") -> str:
    """A job of the drawn smear; gives where its explanation is."""
    job = client.wait(client.submit([SYNTHETIC_SMEAR], fields={"model": model}).id)
    assert job.status == "succeeded"
    return job.links.explanations[0]


def test_grad_cam_is_drawn_on_demand(client: Client, http: httpx.Client) -> None:
    answer = http.get(a_result(client), params={"wait": 30})
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/png")
    with Image.open(io.BytesIO(answer.content)) as picture:
        assert picture.format == "PNG"
        assert picture.width > picture.height, "the overlay is beside the original"


def test_lime_runs_in_the_background_and_is_fetched_at_the_command_line(
    service: LocalService, client: Client, http: httpx.Client, tmp_path: Path
) -> None:
    address = a_result(client)
    accepted = http.get(address, params={"method": "lime"})
    assert (accepted.status_code, accepted.json()["document"]) == (202, None)
    where = {"HEMOTRIAGE_URL": service.url, "HEMOTRIAGE_API_KEY": service.api_key}
    job_id, out = address.split("/")[3], tmp_path / "lime.png"
    done = command_line("explanation", job_id, "--method", "lime", "--out", out, **where)
    assert done.returncode == 0, done.stderr
    assert Image.open(out).format == "PNG"
    figures = http.get(
        address, params={"method": "lime"}, headers={"Accept": "application/json"}
    ).json()
    assert figures["progress"] == 1
    assert figures["document"]["lime"]["superpixels"] > 1
    assert figures["document"]["agreement"]["with"] == "gradcam"
    refused = command_line("explanation", job_id, "--image", "1", "--out", out, **where)
    assert "hemotriage: not_found: " in refused.stderr


@pytest.mark.exhaustive
@pytest.mark.slow
def test_an_explainer_that_is_killed_in_the_middle_of_lime_does_it_again(
    service: LocalService, client: Client, http: httpx.Client
) -> None:
    address = a_result(client, "student")
    query, explainer = {"method": "lime"}, service.applications["explainer-lime"]

    def status() -> str:
        return http.get(address, params=query, headers={"Accept": "application/json"}).json()[
            "status"
        ]

    eventually(lambda: status() == "running")
    explainer.kill()
    assert status() == "running", "it ended before it was killed"
    eventually(lambda: status() == "succeeded", 200, meanwhile=service.ensure_alive)
    assert http.get(address, params=query).headers["Content-Type"] == "image/png"


def test_an_explainer_that_is_stopped_hands_back_what_it_has_and_ends_at_once(
    service: LocalService, client: Client, http: httpx.Client
) -> None:
    address = a_result(client, "student")
    query, explainer = {"method": "lime"}, service.applications["explainer-lime"]
    eventually(lambda: http.get(address, params=query).json()["status"] == "running")
    explainer.ask_to_stop()
    eventually(lambda: not explainer.is_running(), 15)
    assert explainer.exit_code == 0
    assert http.get(address, params=query).json()["status"] == "queued"
    service.ensure_alive()


@pytest.mark.exhaustive
@pytest.mark.slow
def test_results_are_explained_unasked_where_that_is_set(service_folder: Path) -> None:
    settings = {"HEMOTRIAGE_API_PORT": str(free_ports(1)[0])}
    settings["HEMOTRIAGE_EXPLAIN_RESULTS"] = "gradcam"
    with LocalService(service_folder / "explained", settings=settings) as running:
        job_id = Client(running.url, running.api_key).submit([SYNTHETIC_SMEAR]).id
        with httpx.Client(trust_env=False, base_url=running.url) as http:
            http.headers["Authorization"] = f"Bearer {running.api_key}"
            listed = "SELECT count(*) FROM explanations WHERE status = 'succeeded'"
            eventually(lambda: rows(running, listed) == [(1,)], meanwhile=running.ensure_alive)
            answer = http.get(f"/v1/jobs/{job_id}/images/0/explanation", params={"wait": 0})
            assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/png")
        asked = "SELECT count(*) FROM audit_events WHERE action = 'explanation.requested'"
        assert rows(running, asked) == [(0,)]
