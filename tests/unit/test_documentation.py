"""What the documents say is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from services.api import errors as api_errors
from services.api.routes import jobs, results
from services.cli import COMMANDS
from shared import errors
from shared.settings import PROJECT_ROOT, Settings

README = (PROJECT_ROOT / "README.md").read_text()
INTEGRATION = (PROJECT_ROOT / "docs" / "integration.md").read_text()


def settings_rows() -> list[str]:
    rows = []
    for name, field in Settings.model_fields.items():
        default = field.default
        if field.is_required():
            shown = "required"
        elif isinstance(default, Path):
            shown = f"`{default.relative_to(PROJECT_ROOT)}/` of the project"
        else:
            shown = f"`{default}`"
        rows.append(f"| `HEMOTRIAGE_{name.upper()}` | {shown} | {field.description} |")
    return rows


def test_the_readme_has_every_setting_as_it_is() -> None:
    table = README.split("| variable | default | what |\n| --- | --- | --- |\n")[1].split("\n\n")[0]
    assert table.splitlines() == settings_rows()


def test_every_error_code_is_documented() -> None:
    found = set()
    for module in (errors, api_errors, jobs, results):
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, errors.HemotriageError):
                found.add(value.code)
    abstract = {"permanent_error", "unavailable", "image_unusable"}
    local = {"dataset_invalid"}
    documented = set(re.findall(r"^\| `(\w+)`", INTEGRATION, re.MULTILINE))
    assert found - abstract - local - documented == set()


@pytest.mark.parametrize(
    "document",
    [
        "README.md",
        "CONTRIBUTING.md",
        "models/README.md",
        *sorted(
            str(path.relative_to(PROJECT_ROOT)) for path in (PROJECT_ROOT / "docs").rglob("*.md")
        ),
    ],
)
def test_every_link_leads_somewhere(document: str) -> None:
    path = PROJECT_ROOT / document
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert (path.parent / target).exists(), target


def test_the_commands_of_the_readme_exist() -> None:
    assert set(re.findall(r"bin/hemotriage (\w+)", README)) <= set(COMMANDS)
    makefile = (PROJECT_ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert f"\n{target}: " in makefile


def test_every_decision_has_its_record() -> None:
    records = sorted((PROJECT_ROOT / "docs" / "adr").glob("[0-9]*.md"))
    assert len(records) >= 10
    for record in records:
        text = record.read_text()
        for part in ("Context", "Decision", "Consequences"):
            assert f"\n## {part}" in text, record
