"""Data set versions at the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from shared.triage.labels import LABELS
from tests.command_line import command_line
from tests.factories import smear_bytes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two drawn fields a class, a copy, a broken file and a PNG named as a JPEG."""
    root = tmp_path / "images"
    for number, label in enumerate(LABELS):
        (root / label).mkdir(parents=True)
        for index in range(2):
            (root / label / f"{index}.png").write_bytes(smear_bytes(10 * number + index + 1))
    shutil.copy(root / "Pro" / "0.png", root / "Pro" / "copy.png")
    (root / "Early" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    (root / "Pre" / "0.png").rename(root / "Pre" / "0.jpg")
    return root


def test_an_import_prints_what_it_made_and_met(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "versions"
    done = command_line("datasets", "import", folder, "--out", out)
    assert done.returncode == 0, done.stderr
    version = next(out.glob("*.json")).stem
    assert version in done.stdout
    for shown in ("Pro/0.png, Pro/copy.png", "Early/broken.jpg", "Pre/0.jpg", "mislabelled_type"):
        assert shown in done.stdout

    again = command_line("datasets", "import", folder, "--out", out, "--json")
    document = json.loads(again.stdout)
    assert document["version"] == version
    assert document["counts"] == {"Benign": 2, "Early": 2, "Pre": 2, "Pro": 3}
    assert document["groups"] == 8
    left_out = {fault["file"]: fault["left_out"] for fault in document["faults"]}
    assert left_out == {"Early/broken.jpg": True, "Pre/0.jpg": False}

    listed = command_line("datasets", "list", "--out", out, "--json")
    assert [row["version"] for row in json.loads(listed.stdout)] == [version]
    assert version[:12] in command_line("datasets", "list", "--out", out).stdout
    shown = command_line("datasets", "show", version[:10], "--out", out, "--json")
    assert json.loads(shown.stdout) == json.loads((out / f"{version}.json").read_text())
    assert version in command_line("datasets", "show", version[:10], "--out", out).stdout


def test_a_folder_without_a_class_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.rmtree(folder / "Benign")
    done = command_line("datasets", "import", folder, "--out", tmp_path / "versions")
    assert done.returncode == 1
    assert "dataset_invalid" in done.stderr
    assert not (tmp_path / "versions").exists()


def test_an_unknown_version_is_an_error(tmp_path: Path) -> None:
    done = command_line("datasets", "show", "abc", "--out", tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "not_found" in done.stderr
