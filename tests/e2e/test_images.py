"""A service whose processes find no package but those that their images hold does its work."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import httpx
import pytest

from shared.client import Client
from shared.local.ports import free_ports
from shared.local.service import LocalService
from shared.local.synthetic import SYNTHETIC_SMEAR
from shared.settings import PROJECT_ROOT
from tests.datasets import drawn, zipped
from tests.unit.containers.support import locked
from tests.waiting import eventually

pytestmark = [pytest.mark.exhaustive, pytest.mark.slow]

IMAGES = ("api", "worker", "explainer", "trainer")


def foreign(image: str) -> list[str]:
    """The modules that are installed here and that an image does not hold."""
    held = {"hemotriage", *locked(image)}
    return sorted(
        module
        for module, packages in packages_distributions().items()
        if not held & {re.sub("[-_.]+", "-", package).lower() for package in packages}
    )


@pytest.fixture(scope="module")
def service(service_folder: Path) -> Iterator[LocalService]:
    settings = {
        "HEMOTRIAGE_API_PORT": str(free_ports(1)[0]),
        "HEMOTRIAGE_TEST_FOREIGN": json.dumps({image: foreign(image) for image in IMAGES}),
        "PYTHONPATH": str(PROJECT_ROOT / "tests/locked"),
    }
    with LocalService(service_folder / "images", settings=settings) as running:
        yield running


@pytest.fixture
def http(service: LocalService) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {service.api_key}"}
    with httpx.Client(
        base_url=service.url, headers=headers, timeout=60, trust_env=False
    ) as connected:
        yield connected


def test_the_processes_of_this_service_find_only_what_their_image_holds(
    service: LocalService,
) -> None:
    environment = {**service.environment(), "HEMOTRIAGE_TEST_IMAGE": "worker"}
    for module, is_held in {"tensorflow": False, "kombu.transport.redis": True}.items():
        done = subprocess.run(
            [sys.executable, "-c", f"import {module}"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode == 0) is is_held, done.stderr
        assert is_held or "in the image of the worker" in done.stderr


def test_a_field_has_its_result_and_both_explanations(
    service: LocalService, http: httpx.Client
) -> None:
    client = Client(service.url, service.api_key)
    for model in ("champion", "cnn_custom"):
        for priority in ("stat", "routine"):
            fields = {"model": model, "priority": priority}
            job = client.wait(client.submit([SYNTHETIC_SMEAR], fields=fields).id)
            assert job.status == "succeeded"
    for media_type in ("application/fhir+json", "application/hl7-v2"):
        answer = http.get(f"/v1/jobs/{job.id}/result", headers={"Accept": media_type})
        assert answer.status_code == 200, answer.text
    address = job.links.explanations[0]
    assert http.get(address, params={"wait": 30}).status_code == 200
    lime = {"method": "lime", "wait": 1}
    eventually(lambda: http.get(address, params=lime).status_code == 200, 120)


def test_a_model_is_trained_and_registered(http: httpx.Client) -> None:
    zip_type = {"Content-Type": "application/zip"}
    fields = {name: image for n in range(6) for name, image in drawn(100 * n).items()}
    sent = http.post("/v1/datasets", content=zipped(fields), headers=zip_type)
    data = f"/v1/datasets/{sent.json()['id']}"
    eventually(lambda: http.get(data).json()["status"] == "ready", 60)
    small = {"images_per_class": 8, "max_epochs": 1, "batch_size": 8}
    wanted = {"architecture": "cnn_custom", "dataset_id": sent.json()["id"], "overrides": small}
    run = f"/v1/trainings/{http.post('/v1/trainings', json=wanted).json()['id']}"
    eventually(lambda: http.get(run).json()["status"] not in ("queued", "running"), 240)
    ended = http.get(run).json()
    assert (ended["status"], ended["registration_error"]) == ("succeeded", None), ended
    assert ended["registered"] == "cnn_custom@1001"
