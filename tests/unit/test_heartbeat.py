"""A loop that stands still is seen."""

import subprocess
import sys
from pathlib import Path

import pytest

from shared.heartbeat import beat, is_alive


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)


def exit_code(name: str) -> int:
    return subprocess.run([sys.executable, "-m", "shared.heartbeat", name], check=False).returncode


def test_a_process_is_alive_while_its_loop_turns() -> None:
    assert (is_alive("relay"), exit_code("relay")) == (False, 1)
    beat("relay")
    assert (is_alive("relay"), exit_code("relay")) == (True, 0)
    assert not is_alive("relay", stale_seconds=0)
    assert not is_alive("trainer")
