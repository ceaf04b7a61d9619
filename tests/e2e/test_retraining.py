"""From an empty registry to a model in use and back again, over HTTP alone: `make e2e-trainer`."""

from __future__ import annotations

import csv
import io
import random
import shutil
import time
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.local.ports import free_ports
from shared.local.service import LocalService
from shared.triage.labels import LABELS
from tests.command_line import command_line
from tests.factories import DATASET, class_folders

pytestmark = [pytest.mark.exhaustive, pytest.mark.slow, pytest.mark.timeout(2400)]

TRAINING, LOCKED = 100, 30
"""Images a class: 400 in all to train on, and the locked test set."""

TRAINED = {
    "images_per_class": 200,
    "max_epochs": 20,
    "batch_size": 16,
    "learning_rate": 0.004,
    "precision": "mixed_bfloat16",
}
SHUFFLED = {**TRAINED, "max_epochs": 8}
_SEED = 2026


class Service:
    """The API as an administrator of a hospital sees it."""

    def __init__(self, running: LocalService) -> None:
        self.running = running
        self._http = httpx.Client(base_url=running.url, trust_env=False, timeout=60)

    def ask(self, method: str, path: str, expected: int, **given: Any) -> dict[str, Any]:
        """Call a route, which must answer with that status."""
        headers = {"Authorization": f"Bearer {self.running.api_key}", **given.pop("headers", {})}
        response = self._http.request(method, path, headers=headers, **given)
        assert response.status_code == expected, response.text
        body: dict[str, Any] = response.json()
        return body

    def ended(self, path: str, *, seconds: float = 1200) -> dict[str, Any]:
        """What is there once nothing of it is queued or runs any more."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = self.ask("GET", path, 200)
            if found["status"] not in ("queued", "running"):
                return found
            self.running.ensure_alive()
            time.sleep(1)
        pytest.fail(f"{path} did not end within {seconds} s")

    def upload(self, files: dict[str, bytes], **query: object) -> str:
        """Send a zip of labelled images; gives the id of the version that it becomes."""
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as made:
            for name, content in files.items():
                made.writestr(name, content)
        asked = self.ask(
            "POST",
            "/v1/datasets",
            202,
            content=archive.getvalue(),
            headers={"Content-Type": "application/zip"},
            params=query,
        )
        found = self.ended(f"/v1/datasets/{asked['id']}")
        assert found["status"] == "ready", found["error"]
        return str(asked["id"])

    def train(self, dataset_id: str, overrides: dict[str, Any]) -> str:
        """Train the small network; gives the version that it becomes."""
        asked = {"architecture": "cnn_custom", "dataset_id": dataset_id, "overrides": overrides}
        run = self.ask("POST", "/v1/trainings", 202, json=asked)
        run = self.ended(f"/v1/trainings/{run['id']}")
        assert run["status"] == "succeeded", run["error"]
        assert run["registered"], run["registration_error"]
        return str(run["registered"])

    def gate(self, model: str) -> dict[str, Any]:
        """Have a version judged on the locked test set."""
        name, version = model.split("@")
        asked = self.ask("POST", f"/v1/models/{name}/versions/{version}/gates", 202)
        return self.ended(f"/v1/gates/{asked['id']}")

    def promote(self, model: str, expected: int, **given: Any) -> dict[str, Any]:
        """Make a version champion."""
        name, version = model.split("@")
        body = {"version": int(version), **given.pop("json", {})}
        path = f"/v1/models/{name}/aliases/champion"
        return self.ask("PUT", path, expected, json=body, **given)

    def served_by(self, image: bytes) -> str:
        """The version that gives a new job's result."""
        files = {"image": ("image", image)}
        job = self.ask("POST", "/v1/jobs", 202, files=files)
        job = self.ended(f"/v1/jobs/{job['id']}", seconds=60)
        assert job["status"] == "succeeded", job["error"]
        result = job["result"]
        return f"{result['models'][0]['name']}@{result['models'][0]['version']}"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[bytes]]:
    """Images of each class: real ones where they are, no two of one area; drawn ones elsewhere."""
    wanted = TRAINING + LOCKED
    if not DATASET.is_dir():
        folder = class_folders(tmp_path_factory.mktemp("drawn") / "images", wanted)
        return {
            label: [p.read_bytes() for p in sorted((folder / label).iterdir())] for label in LABELS
        }
    groups: dict[str, dict[str, str]] = defaultdict(dict)
    with (DATASET.parent / "manifest.csv").open() as rows:
        for row in csv.DictReader(rows):
            groups[row["class"]].setdefault(row["group"], row["file"])
    drawn = random.Random(_SEED)
    return {
        label: [(DATASET / file).read_bytes() for file in drawn.sample(sorted(of.values()), wanted)]
        for label, of in groups.items()
    }


@pytest.fixture(scope="module")
def service(service_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service without any model."""
    none = tmp_path_factory.mktemp("models")
    root = service_folder / "retraining"
    settings = {
        "HEMOTRIAGE_MODELS_DIR": str(none),
        "HEMOTRIAGE_API_PORT": str(free_ports(1)[0]),
    }
    with LocalService(root, settings=settings) as running:
        yield Service(running)
    shutil.rmtree(root, ignore_errors=True)


def named(images: dict[str, list[bytes]], first: int, count: int) -> dict[str, bytes]:
    return {
        f"{label}/{index}": content
        for label, of_class in images.items()
        for index, content in enumerate(of_class[first : first + count])
    }


def test_a_model_is_trained_judged_promoted_served_and_rolled_back(
    service: Service, images: dict[str, list[bytes]]
) -> None:
    assert service.ask("GET", "/v1/models", 200) == {
        "models": [],
        "aliases": {},
        "canary_percent": 0,
    }
    field = images["Pro"][-1]
    refused = service.ask("POST", "/v1/jobs", 422, files={"image": ("image", field)})
    assert refused["code"] == "no_champion"

    service.upload(named(images, TRAINING, LOCKED), locked=True, name="locked")
    training_set = service.upload(named(images, 0, TRAINING), name="training")
    first = service.train(training_set, TRAINED)
    assert first == "cnn_custom@1001"
    assert service.promote(first, 409)["code"] == "gate_not_passed"
    gate = service.gate(first)
    assert (gate["status"], gate["champion"]) == ("passed", None), gate
    assert service.promote(first, 200)["aliases"] == {"champion": first}
    assert service.served_by(field) == first

    labels = list(images)
    shuffled = named(
        {
            label: [images[labels[(at + i) % len(labels)]][i] for i in range(TRAINING)]
            for at, label in enumerate(labels)
        },
        0,
        TRAINING,
    )
    worse = service.train(service.upload(shuffled, name="shuffled"), SHUFFLED)
    gate = service.gate(worse)
    assert (gate["status"], gate["champion"]) == ("refused", first)
    missed = {one["name"] for one in gate["report"]["criteria"] if not one["passed"]}
    assert "accuracy" in missed, gate["report"]["reasons"]
    assert len(gate["report"]["reasons"]) == len(missed) > 1
    assert service.promote(worse, 409)["code"] == "gate_not_passed"
    assert service.served_by(field) == first

    environment = service.running.environment()
    made = command_line("keys", "create", "--name=second", "--scopes=admin", **environment)
    agreed = {"X-Second-Key": made.stdout.strip()}
    service.promote(worse, 200, json={"reason": "to roll it back"}, headers=agreed)
    assert service.served_by(field) == worse
    back = service.ask("POST", "/v1/models/rollback", 200)
    assert back["aliases"] == {"champion": first, "previous": worse}
    assert service.served_by(field) == first
