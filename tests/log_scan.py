"""Looks for patients and secrets in the logs of the whole run of tests, and fails it for one.

What is looked at: what is logged in this process, as production would write it; the logs of every
process and server that `shared.local` starts, to their last line, and what the children of its
trainers print; log lines on the standard error of commands. Each process of pytest-xdist judges
what it has run.
"""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import pytest

from shared.local.process import LocalProcess
from shared.logging import Formatter
from shared.settings import Settings
from tests.canaries import PATIENT_SHAPES, SECRET_SHAPES, found_in

_OURS = ("shared", "services")
_CHILD_LOG = "child.log"
_SHORTEST_SECRET = 8
_SHOWN = 20
_SECRETS = {
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    *(
        f"HEMOTRIAGE_{name.upper()}"
        for name, of in Settings.model_fields.items()
        if "Secret" in str(of.annotation)
    ),
}

_judging: list[LogScan] = []
"""The scan of this process; none in that which leads others."""


@dataclass
class LogScan:
    """What was found so far, each as `WHERE: WHAT: LINE`, and the logs that are yet to be read."""

    findings: list[str] = field(default_factory=list)
    lines: int = 0
    _secrets: set[str] = field(default_factory=set)
    _logs: dict[tuple[int, int], tuple[str, BinaryIO]] = field(default_factory=dict)
    _trainers: set[Path] = field(default_factory=set)

    @property
    def followed(self) -> list[str]:
        """The names of the logs that are yet to be read."""
        return [name for name, _ in self._logs.values()]

    def keep_secret(self, environment: dict[str, str]) -> None:
        """Look for the values of an environment that are secrets from now on."""
        for name in _SECRETS & environment.keys():
            value = environment[name]
            value = (urlsplit(value).password or "") if "://" in value else value
            if len(value) >= _SHORTEST_SECRET:
                self._secrets.add(value)

    def follow(self, log: Path) -> None:
        """Read a log at the end; it is held open, so that it may be removed before."""
        log.parent.mkdir(parents=True, exist_ok=True)
        log.touch()
        identity = (log.stat().st_dev, log.stat().st_ino)
        if identity not in self._logs:
            self._logs[identity] = (log.name, log.open("rb"))

    def follow_children(self, trainer: Path) -> None:
        """Read at the end what the runs in a trainer's folder printed, if it is still there."""
        self._trainers.add(trainer)

    def read_followed(self) -> None:
        """Look at all lines of the logs that are followed, which are then let go."""
        for log in (log for trainer in self._trainers for log in trainer.rglob(_CHILD_LOG)):
            self.follow(log)
        self._trainers.clear()
        for name, log in self._logs.values():
            with log, io.TextIOWrapper(log, errors="replace") as text:
                for line in text:
                    self.look_at(name, line)
        self._logs.clear()

    def look_at(self, where: str, line: str) -> None:
        """Look at a line of a log."""
        self.lines += 1
        kinds = found_in(line, PATIENT_SHAPES) + self._secrets_in(line)
        self.findings += [f"{where}: {kind}: {line.strip()}" for kind in kinds]

    def look_at_errors(self, where: str, text: str) -> None:
        """Look at the standard error of a command, which may name its user's own files to him."""
        for line in text.splitlines():
            if _is_log(line):
                self.look_at(where, line)
            else:
                self.findings += [f"{where}: {kind}: {line}" for kind in self._secrets_in(line)]

    def judge(self) -> None:
        """Fail where anything was found."""
        self.read_followed()
        shown = "\n".join(dict.fromkeys(self.findings[:_SHOWN]))
        assert not self.findings, f"{len(self.findings)} lines of logs tell too much:\n{shown}"

    def _secrets_in(self, line: str) -> list[str]:
        known = ["a password"] if any(secret in line for secret in self._secrets) else []
        return known + found_in(line, SECRET_SHAPES)


class _Recorder(logging.Handler):
    def __init__(self, scan: LogScan) -> None:
        super().__init__()
        self._scan = scan
        self.setFormatter(Formatter(service="tests"))

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == "werkzeug":  # a server for tests alone, which no service runs
            return
        where = os.environ.get("PYTEST_CURRENT_TEST", "this process")
        self._scan.look_at(where, self.format(record))


def _is_log(line: str) -> bool:
    try:
        return "logger" in json.loads(line)
    except (ValueError, TypeError):
        return False


@pytest.fixture(scope="session", autouse=True)
def log_scan() -> Iterator[LogScan]:
    """Set up before all servers and judged after them, by the last test of this process."""
    scan, patch = LogScan(), pytest.MonkeyPatch()
    recorder = _Recorder(scan)
    _judging.append(scan)
    logging.getLogger().addHandler(recorder)
    levels = {name: logging.getLogger(name).level for name in _OURS}
    for name in _OURS:
        logging.getLogger(name).setLevel(logging.INFO)
    start, communicate = LocalProcess.start, subprocess.Popen.communicate

    def followed(process: LocalProcess) -> None:
        scan.keep_secret(dict(process.spec.environment))
        scan.follow(process.spec.log)
        if work := process.spec.environment.get("HEMOTRIAGE_TRAINER_WORK"):
            scan.follow_children(Path(work))
        start(process)

    def heard(process: subprocess.Popen[Any], *args: Any, **kwargs: Any) -> Any:
        out, errors = communicate(process, *args, **kwargs)
        text = errors.decode(errors="replace") if isinstance(errors, bytes) else errors
        scan.look_at_errors("a command", text or "")
        return out, errors

    patch.setattr(LocalProcess, "start", followed)
    patch.setattr(subprocess.Popen, "communicate", heard)
    yield scan
    _judging.remove(scan)
    patch.undo()
    logging.getLogger().removeHandler(recorder)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    scan.judge()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Look at what processes wrote to the standard error that they inherited."""
    for scan in _judging:
        scan.look_at_errors(report.nodeid, report.capstderr)
