"""The rules of the house that a tool can hold."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.settings import PROJECT_ROOT

SERVICES = ("api", "gateway", "worker", "trainer")
# An assignment tells a library something, and asks nothing.
READS_ENVIRONMENT = r"os\.getenv|os\.environ(?!\[\"\w+\"\] = )"
HEAVY = {"tensorflow", "keras", "openvino", "sklearn", "psutil", "onnx"}


def sources(folder: str) -> list[Path]:
    return sorted((PROJECT_ROOT / folder).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_shared_imports_no_service() -> None:
    wrong = [
        f"{path}: {name}"
        for path in sources("shared")
        for name in imports(path)
        if name.split(".")[0] in ("services", "tests")
    ]
    assert wrong == []


@pytest.mark.parametrize("service", SERVICES)
def test_no_service_imports_another(service: str) -> None:
    wrong = [
        f"{path}: {name}"
        for path in sources(f"services/{service}")
        for name in imports(path)
        if name.startswith("services.") and name.split(".")[1] != service
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "domain",
    [
        "db",
        "storage",
        "queue",
        "triage",
        "imaging",
        "auth",
        "audit",
        "webhooks",
        "monitoring",
        "reviews",
        "explanations",
        "trainings",
        "telemetry",
    ],
)
def test_the_lower_domains_know_nothing_of_jobs(domain: str) -> None:
    wrong = [
        f"{path}: {name}"
        for path in sources(f"shared/{domain}")
        for name in imports(path)
        if name.startswith(("shared.jobs", "shared.local"))
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "modules",
    [
        ("api.main", "api.server", "cli.migrate", "cli.relay", "cli.keys"),
        ("gateway.main",),
        ("worker.main", "worker.health"),
        ("worker.explainer",),
        ("worker.shadow",),
        ("cli.submit", "cli.train"),
        ("trainer.main", "trainer.child"),
    ],
)
def test_an_import_needs_no_settings_and_loads_no_engine(modules: tuple[str, ...]) -> None:
    # Where it is installed, redis imports what it would measure itself with, and that psutil.
    program = "import sys\nsys.modules['opentelemetry'] = None\n"
    program += "".join(f"import services.{name}\n" for name in modules)
    program += f"print(*({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={}
    )
    assert done.stdout.split() == []


def test_files_stay_small() -> None:
    large = [
        str(path)
        for folder in ("shared", "services")
        for path in sources(folder)
        if len(path.read_text().splitlines()) > 300 and "migrations" not in path.parts
    ]
    assert large == []


def test_only_the_settings_read_the_environment() -> None:
    """The command line and the launcher pass an environment on; nothing else looks at it."""
    readers = {
        path.relative_to(PROJECT_ROOT).parts[:2]
        for folder in ("shared", "services")
        for path in sources(folder)
        if re.search(READS_ENVIRONMENT, path.read_text())
    }
    assert readers <= {("shared", "local"), ("services", "cli")}


def test_no_service_that_keys_come_to_asks_for_every_tenant() -> None:
    asking = [
        str(path)
        for folder in ("services/api", "services/gateway")
        for path in sources(folder)
        if "EVERY_TENANT" in path.read_text() or "tenant=None" in path.read_text()
    ]
    assert asking == []
