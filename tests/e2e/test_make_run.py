"""A fresh clone on a fresh machine: `make run` ends in a triage result and an address."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from shared.settings import PROJECT_ROOT
from tests.factories import smear_bytes

SETUP_SECONDS = 900


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What is committed, and nothing else: no virtual environment, no data, no `../shared`."""
    folder = tmp_path / "hemotriage"
    if not (PROJECT_ROOT / ".git").exists():
        pytest.skip("this is no git checkout, so there is nothing to clone")
    subprocess.run(["git", "clone", "--quiet", str(PROJECT_ROOT), str(folder)], check=True)
    return folder


def run(clone: Path) -> Iterator[str]:
    """`make run`, line by line, until it says that it is up; then it goes on in the test."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("HEMOTRIAGE_")
    }
    process = subprocess.Popen(
        ["make", "run"],
        cwd=clone,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout
    try:
        yield from iter(process.stdout.readline, "")
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(60)


def start(clone: Path) -> tuple[Iterator[str], str]:
    lines = run(clone)
    seen = ""
    for line in lines:
        seen += line
        if "Ctrl-C stops it" in line:
            return lines, seen
    pytest.fail(f"make run ended early:\n{seen}")


@pytest.mark.slow
@pytest.mark.timeout(SETUP_SECONDS + 300)
@pytest.mark.exhaustive
def test_make_run_in_a_fresh_clone_gives_a_result_and_stays_up(clone: Path) -> None:
    lines, seen = start(clone)
    assert "pattern consistent with" in seen
    assert "SYNTHETIC" in seen
    assert "not a diagnosis" in re.sub(r"[\s│]+", " ", seen)

    local = json.loads((clone / "var" / "local.json").read_text())
    assert local["url"] in seen
    assert local["api_key"] in seen
    headers = {"Authorization": f"Bearer {local['api_key']}"}
    own = httpx.post(f"{local['url']}/v1/jobs", headers=headers, files={"image": smear_bytes()})
    assert own.status_code == 202
    job = httpx.get(
        f"{local['url']}{own.headers['Location']}?wait=20", headers=headers, timeout=30
    ).json()
    assert job["status"] == "succeeded"
    assert (
        subprocess.run(
            ["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True
        ).stdout
        == ""
    ), "what it makes is ignored by git"

    lines.close()  # Ctrl-C
    assert processes_of(clone) == []

    lines, _ = start(clone)
    assert json.loads((clone / "var" / "local.json").read_text()) == local
    assert httpx.get(f"{local['url']}{own.headers['Location']}", headers=headers).json() == job
    lines.close()
    assert processes_of(clone) == []


def processes_of(clone: Path) -> list[str]:
    """Command lines of the processes that run out of the clone."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command_line = " ".join(process.info["cmdline"] or [])
        if str(clone) in command_line:
            found.append(command_line)
    return found
