"""A child process is started, watched, frozen and stopped whole."""

import os
import signal
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psutil
import pytest

from shared.local.errors import LocalServiceError
from shared.local.process import LocalProcess, ProcessSpec
from shared.local.service import _answers_ok


def process_of(folder: Path, script: str, **options: object) -> LocalProcess:
    command = ["sh", "-c", script]
    return LocalProcess(ProcessSpec("child", command, folder / "child.log", **options))


def wait_for(path: Path) -> str:
    deadline = time.monotonic() + 10
    while not (path.is_file() and path.read_text().endswith("\n")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return path.read_text().strip()


def test_what_a_dead_process_leaves_in_its_group_is_cleared_away(tmp_path: Path) -> None:
    process = process_of(tmp_path, f"sleep 300 & echo $! > {tmp_path}/pid; wait")
    process.start()
    straggler = psutil.Process(int(wait_for(tmp_path / "pid")))
    leader = psutil.Process(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    while leader.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert straggler.is_running()
    assert not process.is_running()
    psutil.wait_procs([straggler], timeout=10)
    assert not straggler.is_running() or straggler.status() == psutil.STATUS_ZOMBIE


def test_an_answer_from_elsewhere_does_not_make_a_dead_process_ready(tmp_path: Path) -> None:
    process = process_of(tmp_path, "echo no such setting; exit 3", is_ready=lambda: True)
    process.start()
    while process.is_running():
        time.sleep(0.01)
    with pytest.raises(LocalServiceError, match="no such setting"):
        process.wait_ready()


def test_a_process_that_ignores_the_signal_is_killed_after_its_grace(tmp_path: Path) -> None:
    script = f"trap '' TERM; echo ready > {tmp_path}/up; while :; do sleep 0.1; done"
    process = process_of(tmp_path, script, grace_seconds=0.3)
    process.start()
    wait_for(tmp_path / "up")
    process.stop()
    assert not process.is_running()


def test_a_frozen_process_stops_when_it_is_asked_to(tmp_path: Path) -> None:
    script = f"trap 'echo ended > {tmp_path}/ended; exit' TERM; echo ready > {tmp_path}/up; "
    process = process_of(tmp_path, script + "while :; do sleep 0.05; done")
    process.start()
    wait_for(tmp_path / "up")
    process.pause()
    process.stop()
    assert wait_for(tmp_path / "ended") == "ended"


def test_a_frozen_process_has_no_part_that_goes_on(tmp_path: Path) -> None:
    # A child with a session of its own, such as each of PostgreSQL's.
    process = process_of(tmp_path, f"setsid sleep 300 & echo $! > {tmp_path}/pid; wait")
    process.start()
    parts = [psutil.Process(process.pid), psutil.Process(int(wait_for(tmp_path / "pid")))]
    process.pause()
    await_status(parts, frozen=True)
    process.resume()
    await_status(parts, frozen=False)
    for part in reversed(parts):
        part.kill()
    process.wait_stopped()


def await_status(parts: list[psutil.Process], *, frozen: bool) -> None:
    deadline = time.monotonic() + 10
    while {part.status() == psutil.STATUS_STOPPED for part in parts} != {frozen}:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_readiness_is_asked_directly_and_not_through_a_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Ready(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with socket.socket() as closed, HTTPServer(("127.0.0.1", 0), Ready) as server:
        closed.bind(("127.0.0.1", 0))
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{closed.getsockname()[1]}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert _answers_ok(f"http://127.0.0.1:{server.server_port}/readyz")
        server.shutdown()
