"""Who has no Prometheus adds a file, which shows metrics inside and publishes Grafana alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.settings import PROJECT_ROOT
from tests.unit.containers.support import (
    MONITORING_FILE,
    OURS,
    SECRETS,
    compose,
    resolve,
    settings_of,
    words,
)

WATCHED = {**SECRETS, "GRAFANA_PASSWORD": "grafana-value"}
ADDED = ("prometheus", "grafana")
SHOWN = set(OURS) - {"api", "migrate", "operator"}


@pytest.fixture(scope="module")
def after() -> dict[str, Any]:
    return resolve(WATCHED, MONITORING_FILE)


def test_without_it_no_process_shows_metrics_beyond_itself() -> None:
    for service in resolve(SECRETS).values():
        assert "HEMOTRIAGE_METRICS_PORT" not in service.get("environment", {})


def test_with_it_nothing_changes_but_where_metrics_are_shown(after: dict[str, Any]) -> None:
    before = resolve(SECRETS)
    assert set(after) - set(before) == set(ADDED)
    assert {name for name in before if before[name] != after[name]} == SHOWN
    for name in SHOWN:
        settings = settings_of(after[name])
        assert (settings.metrics_host, settings.metrics_port) == ("0.0.0.0", 9464)
        del after[name]["environment"]["HEMOTRIAGE_METRICS_HOST"]
        del after[name]["environment"]["HEMOTRIAGE_METRICS_PORT"]
        assert after[name] == before[name]


def test_prometheus_looks_where_they_are(after: dict[str, Any]) -> None:
    config = yaml.safe_load((PROJECT_ROOT / "deploy/prometheus/prometheus.yml").read_text())
    looked_at = {
        name: place["port"]
        for job in config["scrape_configs"]
        for place in job["dns_sd_configs"]
        for name in place["names"]
    }
    assert looked_at == {**dict.fromkeys(SHOWN, 9464), "api": settings_of(after["api"]).api_port}


def test_grafana_alone_is_published_and_for_this_host_alone(after: dict[str, Any]) -> None:
    assert not after["prometheus"].get("ports")
    assert list(after["prometheus"]["networks"]) == ["internal"]
    (port,) = after["grafana"]["ports"]
    assert (port["host_ip"], port["target"]) == ("127.0.0.1", 3000)


def test_a_missing_password_stops_the_start() -> None:
    done = compose(SECRETS, MONITORING_FILE)
    assert done.returncode != 0
    assert "set GRAFANA_PASSWORD" in done.stderr


@pytest.mark.parametrize("name", ADDED)
def test_what_is_added_can_do_little(after: dict[str, Any], name: str) -> None:
    service = after[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"])
    assert re.search(r":v?\d+\.\d+\.\d+$", service["image"])
    assert service["healthcheck"]["test"]
    assert "grafana-value" not in " ".join(words(service))


def test_what_is_mounted_is_there_and_cannot_be_changed(after: dict[str, Any]) -> None:
    mounted = [
        volume for name in ADDED for volume in after[name]["volumes"] if volume["type"] == "bind"
    ]
    assert len(mounted) == 3
    for volume in mounted:
        assert Path(volume["source"]).is_dir()
        assert volume["read_only"] is True


def test_the_page_says_how_to_start_it() -> None:
    command = "docker compose -f docker-compose.yml -f docker-compose.monitoring.yml up"
    assert command in (PROJECT_ROOT / "docs" / "metrics.md").read_text()
    assert command in MONITORING_FILE.read_text()
