"""Prometheus sees one service, however many processes there are and whichever of them dies."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from shared.client import Client
from shared.local.ports import HOST, free_ports
from shared.local.service import APPLICATIONS, LocalService
from shared.local.synthetic import SYNTHETIC_SMEAR
from tests.unit.deploy.support import PROMETHEUS, alerts, dashboard_expressions
from tests.waiting import eventually

PREFIX = "hemotriage_"


def ports(service: LocalService) -> dict[str, int]:
    first = int(service.environment()["HEMOTRIAGE_METRICS_PORT"])
    return {name: first + place for place, name in enumerate(APPLICATIONS) if name != "api"}


def sample(url: str, name: str, **labels: str) -> float:
    """The sum of the samples with these labels."""
    answer = httpx.get(f"{url}/metrics", trust_env=False)
    assert answer.status_code == 200
    return sum(
        one.value
        for family in text_string_to_metric_families(answer.text)
        for one in family.samples
        if one.name == name and labels.items() <= one.labels.items()
    )


def is_shown(url: str) -> bool:
    """Whether a process shows its metrics, which is the last that it does at its start."""
    try:
        return httpx.get(f"{url}/metrics", trust_env=False).is_success
    except httpx.TransportError:
        return False


def test_a_result_is_counted_by_the_worker_that_made_it(
    service: LocalService, client: Client
) -> None:
    urls = [f"http://{HOST}:{ports(service)[name]}" for name in ("worker", "worker-stat")]

    def results() -> float:
        return sum(sample(url, f"{PREFIX}results_total") for url in urls)

    eventually(lambda: all(map(is_shown, urls)))
    before = results()
    job = client.wait(client.submit([SYNTHETIC_SMEAR]).id, timeout=120)
    assert job.result is not None
    eventually(lambda: results() == before + 1)
    assert sum(sample(url, f"{PREFIX}batch_images_count") for url in urls) >= 1
    relay = f"http://{HOST}:{ports(service)['relay']}"
    assert sample(relay, f"{PREFIX}relay_parts_total", part="sweep", outcome="done") > 0


def test_every_process_of_the_api_is_counted_and_a_dead_one_is_not_forgotten(
    service: LocalService, client: Client
) -> None:
    counted = {"route": "/healthz", "status": "2xx"}

    def requests() -> float:
        return sample(service.url, f"{PREFIX}api_request_seconds_count", **counted)

    before = requests()
    for _ in range(20):  # each a connection of its own, to whichever process
        assert httpx.get(f"{service.url}/healthz", trust_env=False).status_code == 200
    assert {requests() for _ in range(10)} == {before + 20}

    master = psutil.Process(service.applications["api"].pid)
    victim = master.children()[0]
    os.kill(victim.pid, signal.SIGKILL)
    eventually(lambda: not psutil.pid_exists(victim.pid) and len(master.children()) == 2)
    eventually(lambda: requests() == before + 20)
    # Whatever it was answering runs no longer: there is the scrape alone.
    eventually(lambda: sample(service.url, f"{PREFIX}api_requests_running") == 1)


@pytest.fixture
def prometheus(service: LocalService, tmp_path: Path) -> Iterator[str]:
    """A real Prometheus with our rules, that scrapes the service each second."""
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not installed: `make peers`")
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(PROMETHEUS / "alerts.yml")]
    places = ports(service) | {"api": int(httpx.URL(service.url).port or 0)}
    for job in config["scrape_configs"]:
        named = [name for dns in job.pop("dns_sd_configs") for name in dns["names"]]
        targets = [f"{HOST}:{places[name]}" for name in named if name in places]
        job["static_configs"] = [{"targets": targets}]
    path = tmp_path / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    port = free_ports(1)[0]
    command = [f"--config.file={path}", f"--storage.tsdb.path={tmp_path / 'data'}"]
    with (tmp_path / "log").open("wb") as log:
        running = subprocess.Popen(
            ["prometheus", *command, f"--web.listen-address={HOST}:{port}"], stdout=log, stderr=log
        )
    try:
        yield f"http://{HOST}:{port}"
    finally:
        running.terminate()
        running.wait(30)


def asked(prometheus: str, expression: str) -> list[dict[str, Any]]:
    answer = httpx.get(
        f"{prometheus}/api/v1/query", params={"query": expression}, trust_env=False
    ).raise_for_status()
    assert answer.json()["status"] == "success", (expression, answer.text)
    result: list[dict[str, Any]] = answer.json()["data"]["result"]
    return result


def are_up(prometheus: str, count: int) -> bool:
    try:
        return len(asked(prometheus, "up == 1")) == count
    except httpx.HTTPError:  # it refuses, or answers 503, until it has started
        return False


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_real_prometheus_has_an_answer_to_each_query_and_nobody_is_called(
    service: LocalService, client: Client, prometheus: str
) -> None:
    eventually(lambda: are_up(prometheus, len(APPLICATIONS)))
    for _ in range(3):
        assert client.wait(client.submit([SYNTHETIC_SMEAR]).id, timeout=120).result is not None
        time.sleep(3)
    # What needs something to have happened that has not here.
    may_be = "training_(progress|val|silent)|unsuccessful|redelivered|drift|review|key_first_end|"
    may_be += "certificate|delivery_seconds|attempts_total"
    expected = {one for one in dashboard_expressions() if not re.search(may_be, one)}
    # A scrape that took too long empties what it was for until the next one.
    eventually(lambda: all(asked(prometheus, one) for one in expected))
    results = asked(prometheus, "sum(increase(hemotriage_results_total[1m]))")
    assert float(results[0]["value"][1]) > 0
    for rule in alerts():
        asked(prometheus, rule["expr"])
    critical = 'ALERTS{alertstate="firing", severity="critical"}'
    assert asked(prometheus, critical) == []
