"""Errors are those that an event explains, and only these."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest

from tests.soak.events import SERVERS
from tests.soak.judging import (
    judge_answers,
    judge_lines,
)
from tests.soak.load import Trouble
from tests.soak.logs import Line, Window, lines_of, unexplained
from tests.soak.outcomes import WINDOW, an_outcome


@pytest.mark.parametrize(
    ("at", "what", "is_good"),
    [(110.0, "503", True), (130.0, "503", False), (110.0, "500", False)],
)
def test_an_answer_is_explained_by_what_and_when(at: float, what: str, is_good: bool) -> None:
    outcome = an_outcome(windows=[WINDOW])
    judge_answers(outcome, [Trouble(at, what)])
    assert outcome.is_good is is_good


@pytest.mark.parametrize(
    ("line", "is_explained"),
    [
        (Line("api", 110.0, "ERROR", "connection closed"), True),
        (Line("api", 130.0, "ERROR", "connection closed"), False),
        (Line("worker", 110.0, "ERROR", "connection closed"), False),
        (Line("api", 110.0, "ERROR", "something else"), False),
    ],
)
def test_a_line_is_explained_by_process_text_and_time(line: Line, is_explained: bool) -> None:
    assert (unexplained([line], [WINDOW]) == []) is is_explained
    outcome = an_outcome(windows=[WINDOW])
    judge_lines(outcome, [line])
    assert outcome.is_good is is_explained


@pytest.mark.parametrize(
    ("text", "is_explained"),
    [
        (
            "upload_chunked.go:281 chunked upload failed: assign volume: all filers failed, last "
            "error: assign volume: rpc error: code = Unavailable desc = connection error: desc = "
            '"transport: Error while dialing: dial unix /tmp/filer.sock: connect: no such file"',
            True,
        ),
        (
            "s3api_object_handlers_put.go:626 putToFiler: chunked upload failed: assign volume: "
            "all filers failed, last error: assign volume: rpc error: code = Unavailable desc = "
            'closing transport due to: connection error: desc = "error reading from server: EOF"',
            True,
        ),
        (
            "filechunk_manifest.go:59 operation LookupFileId 3,1 failed: volume 3 not found",
            True,
        ),
        ("volume_loading.go:100 volume 3: data corruption, checksum mismatch", False),
    ],
)
def test_a_restart_explains_what_the_store_says_of_its_own_parts(
    text: str, is_explained: bool
) -> None:
    event = next(event for event in SERVERS if event.name == "seaweedfs-restarted")
    window = Window(event.name, 100.0, 120.0, event.lines, event.answers)
    line = Line("seaweedfs", 110.0, "ERROR", f"E1128 04:42:56.584727 {text}")
    assert (unexplained([line], [window]) == []) is is_explained


def test_logs_give_warnings_errors_and_tracebacks_with_their_times(tmp_path: Path) -> None:
    at = "2026-01-02 03:04:05,678"
    (tmp_path / "worker.log").write_text(
        json.dumps({"at": at, "level": "INFO", "message": "fine"})
        + "\n"
        + json.dumps({"at": at, "level": "ERROR", "message": "broken", "service": "worker"})
        + "\nTraceback (most recent call last):\n"
    )
    (tmp_path / "postgres.log").write_text("2026-01-02 03:04:05.678 UTC [1] ERROR:  deadlock\n")
    found = lines_of(tmp_path)
    assert [(one.process, one.level) for one in found] == [
        ("postgres", "ERROR"),
        ("worker", "ERROR"),
        ("worker", "ERROR"),
    ]
    assert len({one.at for one in found}) == 1
    assert "broken" in found[1].text


def test_lines_of_the_object_store_have_their_times(tmp_path: Path) -> None:
    now = dt.datetime.now().astimezone().replace(microsecond=0)
    moments = [now, now + dt.timedelta(days=10)]
    lines = [f"E{one:%m%d %H:%M:%S}.000000 manifest.go:363 volume 3 not found" for one in moments]
    (tmp_path / "seaweedfs.log").write_text("\n".join(lines))
    this, before = [one.at for one in lines_of(tmp_path)]
    assert this == now.timestamp()
    days_ago = (this - before) / 86400
    assert 350 < days_ago < 360, "no line is of a time to come"


@pytest.mark.parametrize(("begin", "is_explained"), [(100.9239, True), (100.9251, False)])
def test_a_line_that_comes_at_once_is_not_before_its_event(
    begin: float, is_explained: bool
) -> None:
    """PostgreSQL cuts a time off after its milliseconds."""
    window = Window("postgres-restarted", begin, begin + 20, ("^postgres: .*terminating",), ())
    line = Line("postgres", 100.923, "ERROR", "FATAL:  terminating connection")
    assert (unexplained([line], [window]) == []) is is_explained
