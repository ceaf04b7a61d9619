"""The measurements run; what they measure is no matter of a test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from shared.settings import PROJECT_ROOT


@pytest.mark.exhaustive
@pytest.mark.slow
def test_the_measurements_run_and_write_their_figures(tmp_path: Path) -> None:
    report = tmp_path / "bench.json"
    parts = ["--only=pipeline", "--only=start-up", "--only=workers", "--only=depth"]
    command = [sys.executable, "-m", "tests.bench", "--quick", *parts, f"--json={report}"]
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads(report.read_text())["figures"]
    assert {"pipeline, stub engine", "start-up", "depth", "a worker"} <= {
        f["part"] for f in figures
    }
    assert all(figure["value"] >= 0 for figure in figures)
    against_bound = [figure for figure in figures if figure["unit"] == "jobs/s"]
    assert against_bound
    assert all(figure["ratio"] > 0 and figure["bound"] for figure in against_bound)
