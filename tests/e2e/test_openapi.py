"""The OpenAPI document, held against what the API answers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.local.ports import free_ports
from shared.local.service import LocalService
from shared.settings import PROJECT_ROOT
from tests import datasets
from tests.openapi_hooks import THINGS
from tests.waiting import eventually

SCHEMATHESIS = Path(sys.executable).with_name("st")


@pytest.fixture(scope="module")
def service(service_folder: Path) -> Iterator[LocalService]:
    """A service of its own: what is drawn at random leaves it a lot to do."""
    settings = {"HEMOTRIAGE_API_PORT": str(free_ports(1)[0])}
    with LocalService(service_folder / "openapi", settings=settings) as running:
        yield running


@pytest.fixture
def http(service: LocalService):
    service.ensure_alive()
    headers = {"Authorization": f"Bearer {service.api_key}"}
    with httpx.Client(base_url=service.url, headers=headers, timeout=60) as opened:
        yield opened


@pytest.fixture
def things(http: httpx.Client) -> dict[str, Any]:
    """One of each: a job with a result, a locked data set, a training, a gate, an order."""
    image = {"image": datasets.field(7)}
    job_id = made(http.post("/v1/jobs", files=image))
    zipped = datasets.zipped(datasets.drawn(7))
    dataset_id = made(http.post("/v1/datasets?locked=true", content=zipped, headers=ZIP))
    eventually(lambda: get(http, f"/v1/jobs/{job_id}")["status"] == "succeeded")
    eventually(lambda: get(http, f"/v1/datasets/{dataset_id}")["status"] == "ready")
    other = datasets.zipped(datasets.drawn(70))
    training_set = made(http.post("/v1/datasets", content=other, headers=ZIP))
    eventually(lambda: get(http, f"/v1/datasets/{training_set}")["status"] == "ready")
    wanted = {"architecture": "cnn_custom", "dataset_id": training_set}
    run_id = made(http.post("/v1/trainings", json=wanted))
    http.delete(f"/v1/trainings/{run_id}").raise_for_status()
    gates = "/v1/models/cnn_custom/versions/1/gates"
    gate_id = made(http.post(gates, json={"dataset_id": dataset_id}))
    order_id = made(http.post("/v1/orders", json={"accession_number": "A-1"}))
    ids = {"job_id": job_id, "dataset_id": dataset_id, "run_id": run_id, "gate_id": gate_id}
    more = {"order_id": order_id, "uid": f"2.25.{uuid.UUID(order_id).int}"}
    return {**ids, **more, "index": 0, "name": "cnn_custom", "version": 1}


ZIP = {"Content-Type": "application/zip"}


def made(response: httpx.Response) -> str:
    return str(response.raise_for_status().json()["id"])


def get(http: httpx.Client, path: str) -> Any:
    return http.get(path).raise_for_status().json()


def schemathesis(service: LocalService, things: dict[str, Any], *more: object) -> str:
    """Run all checks; returns what it says."""
    arguments = [
        *(SCHEMATHESIS, "run", f"{service.url}/openapi.json", "--url", service.url),
        *("--header", f"Authorization: Bearer {service.api_key}"),
        *("--checks", "all", "--continue-on-failure", "--seed", "1", "--request-timeout", "60"),
        *more,
    ]
    done = subprocess.run(
        [str(argument) for argument in arguments],
        cwd=PROJECT_ROOT,
        env={**os.environ, THINGS: json.dumps(things)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
    return done.stdout


def counts(report: str) -> tuple[int, int]:
    """How many operations there are, and how many were called."""
    found = re.search(r"Selected: \d+/(\d+)\s+Tested: (\d+)", report)
    assert found is not None, report[-2000:]
    return int(found[1]), int(found[2])


def test_no_answer_is_an_error_of_ours_or_undocumented(
    service: LocalService, things: dict[str, Any]
) -> None:
    report = schemathesis(service, things, "--phases", "examples,coverage", "--max-examples", 5)
    there, called = counts(report)
    assert there == called > 30


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_nor_is_one_of_many_drawn_at_random(service: LocalService, things: dict[str, Any]) -> None:
    report = schemathesis(service, things, "--max-examples", 60)
    there, called = counts(report)
    assert there == called > 30


def test_a_wrong_document_would_be_noticed(
    service: LocalService, http: httpx.Client, tmp_path: Path
) -> None:
    document = get(http, "/openapi.json")
    assert document["paths"]["/v1/jobs/{job_id}"]["get"]["responses"].pop("404")
    paths = {"/v1/jobs/{job_id}": document["paths"]["/v1/jobs/{job_id}"]}
    broken = tmp_path / "openapi.json"
    broken.write_text(json.dumps({**document, "paths": paths}))
    arguments = [SCHEMATHESIS, "run", broken, "--url", service.url, "--phases", "coverage"]
    key = f"Authorization: Bearer {service.api_key}"
    done = subprocess.run(
        [*arguments, "--header", key], cwd=PROJECT_ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Undocumented status code" in done.stdout
