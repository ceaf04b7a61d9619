"""What an earlier launcher left running is ended, and nobody else's process is."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from shared.local.errors import AlreadyRunningError
from shared.local.leftovers import RunFolder

GRACE_SECONDS = 10


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "300"])
    yield process
    process.kill()
    process.wait()


def record(folder: Path, process: subprocess.Popen[bytes], *, created_before: float) -> None:
    created = psutil.Process(process.pid).create_time() - created_before
    row = {"name": "sleeper", "pid": process.pid, "created": created, "stop_signal": 15}
    (folder / "processes.json").write_text(json.dumps([row]))


def test_a_leftover_is_ended_and_named(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    record(tmp_path, sleeper, created_before=0)
    assert RunFolder(tmp_path).end_leftovers() == ["sleeper"]
    assert not psutil.pid_exists(sleeper.pid)
    assert RunFolder(tmp_path).end_leftovers() == [], "the record is gone with it"


def test_a_frozen_leftover_is_ended(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    sleeper.send_signal(signal.SIGSTOP)
    record(tmp_path, sleeper, created_before=0)
    began = time.monotonic()
    RunFolder(tmp_path).end_leftovers()
    assert not psutil.pid_exists(sleeper.pid)
    assert time.monotonic() - began < GRACE_SECONDS, "it ended by itself and was not killed"


def test_a_stranger_with_a_reused_process_id_is_left_alone(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    record(tmp_path, sleeper, created_before=60)
    assert RunFolder(tmp_path).end_leftovers() == []
    assert sleeper.poll() is None


@pytest.mark.parametrize("text", ["", '[{"name": "po'])
def test_a_spoilt_record_does_not_stand_in_the_way(tmp_path: Path, text: str) -> None:
    (tmp_path / "processes.json").write_text(text)
    assert RunFolder(tmp_path).end_leftovers() == []


def test_the_folder_has_one_launcher_at_a_time(tmp_path: Path) -> None:
    first, second = RunFolder(tmp_path), RunFolder(tmp_path)
    first.lock()
    with pytest.raises(AlreadyRunningError):
        second.lock()
    first.unlock()
    second.lock()
    second.unlock()
