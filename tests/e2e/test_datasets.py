"""Data sets of the running service, at the command line."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from shared.client import Client
from shared.local.service import LocalService
from shared.triage.labels import LABELS
from tests.command_line import command_line
from tests.datasets import field, zipped

pytestmark = [pytest.mark.exhaustive, pytest.mark.slow]

NAME = "Ada Lovelace"


@pytest.fixture
def run(service: LocalService, client: Client):
    """Runs `hemotriage datasets` against the service."""

    def of(*arguments: object) -> subprocess.CompletedProcess[str]:
        address = {"HEMOTRIAGE_URL": service.url, "HEMOTRIAGE_API_KEY": service.api_key}
        return command_line("datasets", *arguments, **address)

    return of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A drawn field a class, and a broken file."""
    for number, label in enumerate(LABELS):
        (tmp_path / "images" / label).mkdir(parents=True)
        (tmp_path / "images" / label / f"{NAME}.png").write_bytes(field(number + 300))
    (tmp_path / "images" / "Pro" / f"{NAME} 2.jpg").write_bytes(b"x")
    return tmp_path / "images"


def test_a_folder_becomes_a_version_and_its_names_stay_here(run, folder: Path) -> None:
    done = run("upload", folder, "--name", "March", "--wait")
    assert done.returncode == 0, done.stderr
    assert "left out: unsupported_media_type" in done.stdout
    assert f"Pro/{NAME} 2.jpg" in done.stdout
    again = run("upload", folder, "--wait", "--json")
    found = json.loads(again.stdout)
    assert found["same_as"] is not None
    assert found["version"] in done.stdout
    assert "Ada" not in again.stdout
    based = run("from-reviews", "--base", found["id"], "--since", found["id"], "--wait", "--json")
    assert json.loads(based.stdout)["version"] == found["version"]


def test_what_the_service_refuses_is_an_error(run, tmp_path: Path) -> None:
    archive = tmp_path / "x.zip"
    archive.write_bytes(zipped({"photo.png": b"x"}))
    done = run("upload", archive, "--wait")
    assert done.returncode == 1
    assert "no_class_folder" in done.stderr
    queued = run("upload", archive)
    assert (queued.returncode, queued.stdout.split()[1:]) == (0, ["queued"])
    unknown = run("from-reviews", "--base", "00000000-0000-0000-0000-000000000000")
    assert unknown.returncode == 1
    assert "not_found" in unknown.stderr
