"""`hemotriage up` survives what happens to launchers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from shared.local.leftovers import find_process
from shared.local.ports import free_ports


@pytest.fixture
def root(service_folder: Path) -> Path:
    return service_folder / "up"


def up(root: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "services.cli", "up", f"--root={root}", *options]
    environment = {**os.environ, "HEMOTRIAGE_API_PORT": str(free_ports(1)[0])}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=environment, text=True, **pipes)


@pytest.fixture
def launcher(root: Path) -> Iterator[subprocess.Popen[str]]:
    """A service that is up, with its launcher."""
    running = up(root)
    assert running.stdout
    while "Ctrl-C stops it" not in (line := running.stdout.readline()):
        assert line, running.stderr and running.stderr.read()
    yield running
    running.kill()
    running.wait()


def recorded(root: Path) -> list[psutil.Process]:
    records = json.loads((root / "run" / "processes.json").read_text())
    found = [find_process(record["pid"], record["created"]) for record in records]
    return [process for process in found if process is not None]


@pytest.mark.exhaustive
def test_a_killed_launcher_leaves_no_orphan_and_the_next_start_works(
    root: Path, launcher: subprocess.Popen[str]
) -> None:
    second = up(root)
    _, complaint = second.communicate(timeout=60)
    assert second.returncode == 1
    assert "hemotriage: already_running:" in complaint

    processes = recorded(root)
    assert len(processes) == 12, "three servers and nine processes of ours"
    launcher.kill()
    launcher.wait()

    third = up(root, "--once")
    shown, errors = third.communicate(timeout=120)
    assert third.returncode == 0, errors
    assert "pattern consistent with" in shown
    _, alive = psutil.wait_procs(processes, timeout=1)
    assert alive == []
    assert recorded(root) == []


def test_a_stopped_launcher_exits_cleanly(root: Path, launcher: subprocess.Popen[str]) -> None:
    processes = recorded(root)
    launcher.terminate()
    assert launcher.wait(60) == 0
    _, alive = psutil.wait_procs(processes, timeout=1)
    assert alive == []
