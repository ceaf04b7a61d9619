"""Reads the logs of all processes: each warning and error is one that an event explains, or not."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_LEVELS = ("WARNING", "ERROR", "CRITICAL")
_OF_SERVERS = re.compile(r"\b(ERROR|FATAL|PANIC|WARNING):|^[EF]\d{4} |# WARNING")
_SEAWEEDFS = re.compile(r"[IWEF](\d{4} \d\d:\d\d:\d\d\.\d{6}) ")
_MARKS = ("Traceback (most recent call last)", "MemoryError", "Segmentation fault")
_CUT_OFF_SECONDS = 0.001
"""A line's time is cut off after its milliseconds: one that came at once seems to be earlier."""
_HARMLESS = re.compile(
    "Memory overcommit must be enabled"  # of the machine
    "|SecurityWarning"  # Celery's, of a worker that runs as root
    "|Connection pool is full"  # urllib3 keeps no more idle connections than a calm service needs
)


@dataclass(frozen=True)
class Line:
    """A line that asks for attention; `at` by the wall clock, None where it does not say."""

    process: str
    at: float | None
    level: str
    text: str


@dataclass(frozen=True)
class Window:
    """The time in which an event may be felt, and what it explains.

    `lines` are patterns of log lines `PROCESS: TEXT`, `answers` of answers to clients.
    """

    event: str
    begin: float
    end: float
    lines: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()

    def explains(self, line: Line) -> bool:
        """Whether a line comes of the event."""
        in_time = line.at is None or self.begin - _CUT_OFF_SECONDS <= line.at <= self.end
        return in_time and _matches(self.lines, f"{line.process}: {line.text}")

    def explains_answer(self, at: float, what: str) -> bool:
        """Whether an answer comes of it."""
        return self.begin <= at <= self.end and _matches(self.answers, what)


def _matches(patterns: Iterable[str], text: str) -> bool:
    return any(re.search(pattern, text) for pattern in patterns)


def lines_of(folder: Path) -> list[Line]:
    """All that asks for attention in the logs of a folder, `NAME.log` each."""
    return [line for path in sorted(folder.glob("*.log")) for line in _lines(path)]


def _lines(path: Path) -> Iterator[Line]:
    last: float | None = None
    for text in path.read_text(errors="replace").splitlines():
        try:
            found = json.loads(text)
            at, level = _moment(found["at"]), str(found["level"])
        except (ValueError, KeyError, TypeError):
            last = _moment(text[:23].replace(".", ",")) or _moment_of_seaweedfs(text) or last
            is_named = _OF_SERVERS.search(text) and not _HARMLESS.search(text)
            if is_named or any(mark in text for mark in _MARKS):
                yield Line(path.stem, last, "ERROR", text)
            continue
        last = at
        if level in _LEVELS and not _HARMLESS.search(text):
            rest = {k: v for k, v in found.items() if k not in ("at", "level", "service")}
            yield Line(path.stem, at, level, json.dumps(rest))


def _moment(text: str) -> float | None:
    try:
        return dt.datetime.strptime(text, "%Y-%m-%d %H:%M:%S,%f").astimezone().timestamp()
    except ValueError:
        return None


def _moment_of_seaweedfs(text: str) -> float | None:
    """Of a line such as `E0102 03:04:05.678901 file.go:1 text`, which does not say the year."""
    found = _SEAWEEDFS.match(text)
    if found is None:
        return None
    now = dt.datetime.now().astimezone()
    moment = dt.datetime.strptime(f"{now.year}{found[1]}", "%Y%m%d %H:%M:%S.%f").astimezone()
    is_of_last_year = moment > now + dt.timedelta(days=1)
    return (moment.replace(year=now.year - 1) if is_of_last_year else moment).timestamp()


def unexplained(lines: Iterable[Line], windows: Iterable[Window]) -> list[Line]:
    """The lines that no event explains."""
    known = list(windows)
    return [line for line in lines if not any(window.explains(line) for window in known)]
