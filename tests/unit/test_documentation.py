"""What the documents say is what the code does."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import services.api
import services.worker
import shared.jobs
import shared.queue
import shared.webhooks
from services.cli import COMMANDS, cli
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
            ending = "" if default.suffix else "/"
            shown = f"`{default.relative_to(PROJECT_ROOT)}{ending}` of the project"
        else:
            shown = f"`{default}`"
        rows.append(f"| `HEMOTRIAGE_{name.upper()}` | {shown} | {field.description} |")
    return rows


def test_the_readme_has_every_setting_as_it_is() -> None:
    table = README.split("| variable | default | what |\n| --- | --- | --- |\n")[1].split("\n\n")[0]
    assert table.splitlines() == settings_rows()


def error_classes(base: type = errors.HemotriageError) -> Iterator[type]:
    """Every error that the API, a worker or a job can end with."""
    for package in (services.api, services.worker, shared.jobs, shared.queue, shared.webhooks):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    for found in base.__subclasses__():
        yield found
        yield from error_classes(found)


def test_every_error_code_is_documented() -> None:
    of_services = ("shared.", "services.api", "services.worker")
    found = {
        error.code
        for error in error_classes()
        if error.__module__.startswith(of_services)
        and not error.__module__.startswith(("shared.local", "shared.client", "shared.backup"))
    }
    abstract = {"permanent_error", "doubtful", "unavailable", "image_unusable"}
    local = {"dataset_invalid", "pretrained_weights_missing", "migration_blocked"}
    # Told at a start or by `migrate`, see docs/security.md.
    local |= {"database_role_too_mighty", "secret_file_invalid"}
    documented = set(re.findall(r"^\| `(\w+)`", INTEGRATION, re.MULTILINE))
    assert found - abstract - local - documented == set()


DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    "models/README.md",
    *sorted(str(path.relative_to(PROJECT_ROOT)) for path in (PROJECT_ROOT / "docs").rglob("*.md")),
]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_somewhere(document: str) -> None:
    path = PROJECT_ROOT / document
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]+))?\)", path.read_text()):
        page = path.parent / target if target else path
        assert page.exists(), target
        if anchor:
            assert anchor in anchors(page), f"{target}#{anchor}"


def anchors(page: Path) -> set[str]:
    """What its headings are called in links."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_that_is_shown_exists_with_its_options(document: str) -> None:
    text = (PROJECT_ROOT / document).read_text()
    for block in re.findall(r"^ *```\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL):
        for line in re.findall(r"(?:^|bin/|[&|] )hemotriage ([^#|&>\n]+)", block, re.MULTILINE):
            check_command(line)


def check_command(line: str) -> None:
    words = line.split()
    command: click.Command = cli
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        _, found, words = command.resolve_command(click.Context(command), words)
        assert found is not None, line
        command = found
    known = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
    shown = {word.partition("=")[0] for word in words if re.match(r"--[a-z]", word)}
    assert shown <= known | {"--help"}, line


def test_the_page_on_logs_has_every_process_that_writes_one() -> None:
    page = (PROJECT_ROOT / "docs" / "observability.md").read_text()
    row = re.search(r"^\| `service` \| (.*) \|$", page, re.MULTILINE)
    assert row is not None
    written = {
        name
        for folder in ("services", "shared")
        for path in (PROJECT_ROOT / folder).rglob("*.py")
        for name in re.findall(r"configure_logging\(.*service=\"([\w-]+)\"\)", path.read_text())
    }
    assert set(re.findall(r"`([\w-]+)`", row[1])) == written


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


def test_every_test_that_the_threat_model_names_is_there() -> None:
    named = set(
        re.findall(r"`(test_\w+)`", (PROJECT_ROOT / "docs" / "threat-model.md").read_text())
    )
    defined = {
        name
        for path in (PROJECT_ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    assert len(named) > 50
    assert named - defined == set()
