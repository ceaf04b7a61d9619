"""The audit of requirements tells what is found, what is accepted, and what could not be asked."""

from __future__ import annotations

import datetime as dt
import importlib.util
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from shared.settings import PROJECT_ROOT

SCRIPT = PROJECT_ROOT / "requirements" / "audit.py"
TODAY = dt.date(2026, 6, 1)
ENTRY = {"id": "CVE-1", "package": "clinic", "expires": TODAY}
NOTHING = "# nothing is accepted\n"


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit_of_requirements", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def said(audit: ModuleType, *found: str) -> Any:
    """What a source says of one package with these findings."""
    findings = {each: {"package": "clinic==1", "also": "CVE-1", "mended": "2"} for each in found}
    return audit.Asked(answered={"clinic"}, findings=findings)


@pytest.mark.parametrize(
    ("found", "accepted", "told"),
    [
        ([], [], []),
        (["PYSEC-1"], [], ["clinic==1: PYSEC-1 CVE-1; mended in 2"]),
        (["PYSEC-1"], [ENTRY], []),
        (["PYSEC-1"], [{**ENTRY, "expires": dt.date(2026, 5, 31)}], ["was accepted until"]),
        ([], [ENTRY], ["is no finding any more"]),
    ],
    ids=["none", "a finding", "accepted", "accepted once", "stale"],
)
def test_a_finding_is_accepted_for_a_reason_and_a_time(
    audit: ModuleType, found: list[str], accepted: list[Any], told: list[str]
) -> None:
    faults = list(audit.faults(said(audit, *found), accepted, TODAY))
    assert len(faults) == len(told)
    assert all(part in fault for part, fault in zip(told, faults, strict=True))


def test_what_nobody_answered_for_is_not_called_stale(audit: ModuleType) -> None:
    assert list(audit.faults(audit.Asked(silent={"clinic"}), [ENTRY], TODAY)) == []


def test_every_shipped_licence_is_one_that_can_be_passed_on(audit: ModuleType) -> None:
    files = [PROJECT_ROOT / "requirements" / f"{name}.txt" for name in audit.SHIPPED]
    assert list(audit.licence_faults(files, {"namex": "Apache-2.0"})) == []


def test_strong_copyleft_and_silence_are_no_licences(audit: ModuleType, tmp_path: Path) -> None:
    lock = tmp_path / "x.txt"
    lock.write_text("one==1\ntwo==1\nthree==1\nfour==1\nnowhere-to-be-found==1\n")
    stated = {"one": "GPL-3.0", "two": "LGPL-3.0", "three": "MIT OR GPL-2.0", "four": "AGPL-3.0"}
    told = [fault.split(":")[0] for fault in audit.licence_faults([lock], stated)]
    assert told == ["four", "nowhere-to-be-found", "one"]


@pytest.fixture
def advisories() -> Iterator[Callable[[dict[str, Any]], str]]:
    """Starts a source of advisories that gives one answer; gives its address."""
    running = []

    def start(answer: dict[str, Any]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                body = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        running.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}/"

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def audited(folder: Path, url: str) -> subprocess.CompletedProcess[str]:
    lock, accepted = folder / "clinic.txt", folder / "audit.toml"
    lock.write_text(f"clinic==1.0 --hash=sha256:{'0' * 64}\n")
    accepted.write_text(f'{NOTHING}[licences]\nnamex = "Apache-2.0"\n')
    command = [sys.executable, SCRIPT, lock, "--accepted", accepted, "--service", "osv"]
    return subprocess.run(
        [*command, "--osv-url", url], capture_output=True, text=True, check=False, cwd=folder
    )


VULNERABLE = {
    "vulns": [
        {
            "id": "GHSA-1",
            "aliases": ["CVE-1"],
            "affected": [
                {
                    "package": {"name": "clinic", "ecosystem": "PyPI"},
                    "ranges": [{"type": "ECOSYSTEM", "events": [{"fixed": "1.1"}]}],
                }
            ],
        }
    ]
}


@pytest.mark.parametrize(
    ("answer", "status", "told"),
    [({}, 0, "1 requirements were asked about; 0 faults."), (VULNERABLE, 1, "mended in 1.1")],
    ids=["no finding", "a finding"],
)
def test_the_status_tells_whether_something_was_found(
    advisories, tmp_path: Path, answer: dict[str, Any], status: int, told: str
) -> None:
    done = audited(tmp_path, advisories(answer))
    assert (done.returncode, told in done.stdout) == (status, True), done.stdout + done.stderr


def test_a_source_that_is_away_is_not_the_same_as_no_finding(tmp_path: Path) -> None:
    done = audited(tmp_path, "http://127.0.0.1:9/")
    assert done.returncode == 3
    assert "could not be asked" in done.stdout
    assert "this is no clean bill" in done.stdout
