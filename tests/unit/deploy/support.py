"""What the checks of `deploy` share: the files, promtool, and the expressions in them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.settings import PROJECT_ROOT

PROMETHEUS = PROJECT_ROOT / "deploy" / "prometheus"
ALERTS = PROMETHEUS / "alerts.yml"
ALERT_TESTS = PROMETHEUS / "alerts.test.yml"
DASHBOARD = PROJECT_ROOT / "deploy" / "grafana" / "dashboards" / "hemotriage.json"
PROVISIONING = PROJECT_ROOT / "deploy" / "grafana" / "provisioning"
PAGE = PROJECT_ROOT / "docs" / "metrics.md"
RUNBOOK = PROJECT_ROOT / "docs" / "operations" / "runbook.md"

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed: `make peers`"
)


def promtool(*arguments: str | Path, given: str | None = None) -> None:
    done = subprocess.run(
        ["promtool", *map(str, arguments)], input=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


def panels() -> Iterator[dict[str, Any]]:
    yield from (panel for panel in dashboard()["panels"] if panel["type"] != "row")


def dashboard_expressions() -> list[str]:
    """Each with the range that Grafana would put in the place of its variable."""
    expressions = [target["expr"] for panel in panels() for target in panel["targets"]]
    return [one.replace("$__rate_interval", "1m") for one in expressions]


def metrics_in(expressions: list[str]) -> set[str]:
    """The metrics of ours that are named."""
    return {name for one in expressions for name in re.findall(r"\bhemotriage_\w+", one)}


def documented() -> set[str]:
    rows = re.findall(r"^\| (`hemotriage_.*?) \|", PAGE.read_text(), re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}
