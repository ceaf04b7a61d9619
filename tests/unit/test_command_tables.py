"""Where commands print their tables."""

from __future__ import annotations

import re

import pytest
from rich.table import Table

from services.cli.rendering import stdout_console
from shared.settings import PROJECT_ROOT

LONG = "as wide as it needs to be " * 20


def test_what_is_no_terminal_gets_whole_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    table = Table("first", "second")
    table.add_row(LONG, "[a] :key: b")
    stdout_console(width=110).print(table)
    (row,) = (line for line in capsys.readouterr().out.splitlines() if LONG in line)
    assert "[a] :key: b" in row
    assert len(row) < 2 * len(LONG)


def test_a_terminal_keeps_its_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    assert stdout_console().width == 40
    assert stdout_console(width=110).width == 110


def test_no_command_prints_by_another_console() -> None:
    folder = PROJECT_ROOT / "services" / "cli"
    made = {
        (path.name, found)
        for path in folder.glob("*.py")
        for found in re.findall(r"\bConsole\([^)]*", path.read_text())
        if found != "Console(stderr=True"
    }
    assert {name for name, _ in made} == {"rendering.py"}
