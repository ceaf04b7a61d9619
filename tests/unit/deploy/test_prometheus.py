"""Prometheus' own tools take the configuration and the rules, and each alert is tried both ways."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from shared.local.service import APPLICATIONS
from tests.unit.deploy.support import (
    ALERT_TESTS,
    ALERTS,
    PAGE,
    PROMETHEUS,
    RUNBOOK,
    alerts,
    needs_promtool,
    promtool,
)


@needs_promtool
def test_promtool_takes_the_configuration_and_the_rules() -> None:
    promtool("check", "config", PROMETHEUS / "prometheus.yml")
    promtool("check", "rules", ALERTS)


@needs_promtool
def test_each_alert_fires_where_it_must_and_is_calm_where_it_must_be() -> None:
    promtool("test", "rules", ALERT_TESTS)


@needs_promtool
@pytest.mark.exhaustive
def test_the_tests_of_alerts_can_fail(tmp_path: Path) -> None:
    """As the tests of the tests: a threshold that is moved is noticed."""
    moved = ALERTS.read_text().replace('priority="stat"}) > 60', 'priority="stat"}) > 100')
    (tmp_path / ALERTS.name).write_text(moved)
    (tmp_path / ALERT_TESTS.name).write_text(ALERT_TESTS.read_text())
    try:
        promtool("test", "rules", tmp_path / ALERT_TESTS.name)
    except AssertionError as error:
        assert "HemotriageStatWaits fires" in str(error)
    else:
        raise AssertionError("nothing was noticed")


def test_each_alert_is_tried_both_ways() -> None:
    tried = {test["name"] for test in yaml.safe_load(ALERT_TESTS.read_text())["tests"]}
    names = {rule["alert"] for rule in alerts()}
    assert tried == {f"{name} {how}" for name in names for how in ("fires", "is calm")}


def test_each_alert_says_how_grave_it_is_what_it_is_and_where_to_read_on() -> None:
    headings = re.findall(r"^#+ (.+)$", PAGE.read_text(), re.MULTILINE)
    anchors = {heading.lower().replace(" ", "-") for heading in headings}
    for rule in alerts():
        assert rule["labels"]["severity"] in ("critical", "warning"), rule["alert"]
        assert rule["annotations"]["summary"].endswith((".", "?")), rule["alert"]
        page, anchor = rule["annotations"]["runbook"].split("#")
        assert page == "docs/metrics.md"
        assert anchor == rule["alert"].lower()
        assert anchor in anchors, anchor


def test_the_page_describes_no_alert_that_there_is_not() -> None:
    described = set(re.findall(r"^### (Hemotriage\w+)$", PAGE.read_text(), re.MULTILINE))
    assert described == {rule["alert"] for rule in alerts()}


def test_a_process_that_is_gone_is_missed() -> None:
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    jobs = {job["job_name"] for job in config["scrape_configs"]}
    missed = set(re.findall(r'absent\(up\{job="(\w+)"\}\)', ALERTS.read_text()))
    assert missed == jobs - {"gateway"}  # it is of a profile


def test_the_page_says_which_port_a_local_process_has() -> None:
    said = re.findall(r"`([a-z-]+)`(?: has)?\s+(94\d\d)\b", PAGE.read_text())
    given = {name: str(9464 + place) for place, name in enumerate([*APPLICATIONS, "gateway"])}
    del given["api"]  # it has a port already
    assert dict(said) == given


def test_the_runbook_leads_to_every_alert() -> None:
    rows = re.findall(r"^\| \[(Hemo\w+)\]\((\S+)\) \| (\w+) \|", RUNBOOK.read_text(), re.MULTILINE)
    told = {(name, link, severity) for name, link, severity in rows}
    assert told == {
        (rule["alert"], f"../metrics.md#{rule['alert'].lower()}", rule["labels"]["severity"])
        for rule in alerts()
    }
