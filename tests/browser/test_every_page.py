"""Each page that can be asked for by its address is for everybody."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page

from services.api.app import create_app
from shared.client import Client
from shared.local.service import LocalService
from shared.local.synthetic import SYNTHETIC_SMEAR
from tests import datasets
from tests.conftest import settings_of
from tests.waiting import eventually

pytestmark = [pytest.mark.exhaustive, pytest.mark.slow]

# What pages fetch: parts of them, pictures, files, figures, and ways through an OpenID provider.
PARTS = (
    *("static", "home", "nowhere", "sign_in", "sign_in_elsewhere", "back_from_elsewhere"),
    *("case_live", "worklist_live", "send_live", "review_waiting", "queues_now", "queues_troubles"),
    *("case_image", "case_thumb", "case_overlay", "case_picture", "case_explanation"),
    *("case_result", "case_report", "model_gates", "training_curves", "queues_throughput"),
    # Without a challenger and a former champion there is nothing to confirm.
    "aliases_change",
)


@pytest.fixture(scope="module")
def things(service: LocalService) -> dict[str, Any]:
    """One of each that an address may name."""
    service.ensure_alive()
    headers = {"Authorization": f"Bearer {service.api_key}"}
    with (
        Client(service.url, service.api_key) as client,
        httpx.Client(base_url=service.url, headers=headers, timeout=60) as http,
    ):
        job = client.submit([SYNTHETIC_SMEAR])
        archive = datasets.zipped(datasets.drawn(900))
        zipped = {"Content-Type": "application/zip"}
        sent = http.post("/v1/datasets", content=archive, headers=zipped).raise_for_status().json()
        address = f"/v1/datasets/{sent['id']}"
        eventually(lambda: http.get(address).json()["status"] == "ready")
        wanted = {"architecture": "cnn_custom", "dataset_id": sent["id"]}
        run = http.post("/v1/trainings", json=wanted).raise_for_status().json()
        http.delete(f"/v1/trainings/{run['id']}").raise_for_status()
        client.wait(job.id, timeout=120)
    ids = {"job_id": job.id, "dataset_id": sent["id"], "run_id": run["id"]}
    more = {"name": "student", "version": 2, "change": "judge"}
    return {**ids, **more, "key_id": service.api_key.split("_")[1]}


def addresses(service: LocalService, things: dict[str, Any]) -> list[str]:
    """Of all pages, by the routes that there are."""
    application = create_app(settings_of(service.environment()))
    adapter = application.url_map.bind("localhost")
    return sorted(
        adapter.build(rule.endpoint, {name: things[name] for name in rule.arguments})
        for rule in application.url_map.iter_rules()
        if rule.endpoint.startswith("console.")
        and "GET" in rule.methods
        and rule.endpoint.removeprefix("console.") not in PARTS
    )


def test_no_page_has_a_violation(
    browser_page: Page, axe, service: LocalService, things: dict[str, Any]
) -> None:
    visited = addresses(service, things)
    assert len(visited) > 15
    wrong = {}
    for address in visited:
        answer = browser_page.goto(address)
        assert answer is not None
        assert answer.ok, (address, answer.status)
        signed_in = browser_page.get_by_role("button", name="Sign out")
        assert signed_in.count() == 1, f"{address} leads to {browser_page.url}"
        try:
            axe(browser_page)
        except AssertionError as error:
            wrong[address] = str(error)[:2000]
    assert wrong == {}, json.dumps(wrong, indent=1)
