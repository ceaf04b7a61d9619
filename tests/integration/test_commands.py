"""Every command has help, and models are listed and shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.cli import COMMANDS
from tests.command_line import command_line


def test_models_are_listed_and_shown(tmp_path: Path) -> None:
    assert "champion" in command_line("models", "list").stdout
    shown = json.loads(command_line("models", "show", "cnn_custom").stdout)
    assert shown["parameters"] == 127_300
    page = tmp_path / "card.html"
    assert command_line("models", "show", "cnn_custom", f"--html={page}").returncode == 0
    assert "cnn_custom" in page.read_text()
    assert "<svg" in page.read_text()
    unknown = command_line("models", "show", "no_such")
    assert (unknown.returncode, unknown.stdout) == (1, "")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    done = command_line(command, "--help")
    assert done.returncode == 0
    assert "Usage:" in done.stdout
