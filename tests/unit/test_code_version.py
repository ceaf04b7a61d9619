"""Which code made a figure."""

from __future__ import annotations

import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from services.trainer import code_version as module
from services.trainer.code_version import code_version


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder, in no repository yet."""
    monkeypatch.setattr(module, "PROJECT_ROOT", tmp_path)
    return tmp_path


def git(root: Path, *arguments: str) -> str:
    names = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    command = ["git", "-C", str(root), *names, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_outside_a_repository_the_package_has_a_version_alone(root: Path) -> None:
    assert code_version() == {"package": version("hemotriage"), "commit": None}


def test_a_repository_without_a_commit_has_none(root: Path) -> None:
    git(root, "init")
    assert code_version()["commit"] is None


def test_a_change_or_a_new_file_makes_a_commit_dirty(root: Path) -> None:
    git(root, "init")
    (root / "code.py").write_text("1")
    git(root, "add", "code.py")
    git(root, "commit", "--message=first")
    head = git(root, "rev-parse", "HEAD")
    assert code_version()["commit"] == head
    (root / "new.py").touch()
    assert code_version()["commit"] == f"{head}-dirty"
    (root / "new.py").unlink()
    (root / "code.py").write_text("2")
    assert code_version()["commit"] == f"{head}-dirty"


def test_a_repository_further_up_is_not_the_codes_own(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(root, "init")
    git(root, "commit", "--allow-empty", "--message=of somebody else")
    inner = root / "site-packages"
    inner.mkdir()
    monkeypatch.setattr(module, "PROJECT_ROOT", inner)
    assert code_version()["commit"] is None
