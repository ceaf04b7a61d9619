"""The administrator's pages in a browser: walks through them, and how they look."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from shared.auth.known import TRUST_SECONDS
from shared.client import Client
from shared.local.service import LocalService
from tests.browser.conftest import sign_in
from tests.datasets import drawn, zipped
from tests.factories import smear_bytes

pytestmark = [pytest.mark.exhaustive, pytest.mark.slow]

PAGES = ["queues", "models", "data", "trainings", "monitoring", "keys", "audit"]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A zip of drawn fields, which is another one than that of any other test."""
    path = tmp_path / "smears.zip"
    path.write_bytes(zipped(drawn(4711)))
    return path


@pytest.fixture(scope="module")
def reviewed(service: LocalService, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A job with a result that a reader has confirmed."""
    client = Client(service.url, service.api_key)
    image = tmp_path_factory.mktemp("reviewed") / "field.png"
    image.write_bytes(smear_bytes(4712))
    job = client.submit([image])
    client.wait(job.id)
    client.review(job.id, "confirm")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_for_everybody(browser_page: Page, axe, shot, reviewed, name: str) -> None:
    browser_page.goto(f"/console/{name}")
    expect(browser_page.get_by_role("heading", level=1)).to_have_count(1)
    shot(browser_page, f"administration-{name}")
    axe(browser_page)
    browser_page.set_viewport_size({"width": 768, "height": 900})
    browser_page.locator("select[name=language]").select_option("id")
    expect(browser_page.locator("html")).to_have_attribute("lang", "id")
    browser_page.locator("select[name=theme]").select_option("dark")
    expect(browser_page.locator("html")).to_have_attribute("data-theme", "dark")
    widths = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert browser_page.evaluate(widths) <= 0
    shot(browser_page, f"administration-{name}-narrow-dark")


def test_queues_and_monitoring_draw_charts_and_go_on_by_themselves(
    browser_page: Page, reviewed
) -> None:
    browser_page.goto("/console/monitoring")
    expect(browser_page.locator(".chart canvas").first).to_be_visible()
    expect(browser_page.locator("#bins")).to_be_visible()
    browser_page.goto("/console/queues")
    expect(browser_page.locator(".chart canvas")).to_be_visible()
    with browser_page.expect_response("**/queues/now") as asked:
        pass
    assert asked.value.ok


def test_a_version_is_compared_made_challenger_and_retired(browser_page: Page, axe, shot) -> None:
    page = browser_page
    page.goto("/console/models")
    page.get_by_label("First version").select_option("student@2")
    expect(page.get_by_role("columnheader", name="student@2")).to_be_visible()
    page.get_by_role("link", name="Make cnn_custom@1 challenger").click()
    expect(page.get_by_text("This will happen:")).to_be_visible()
    shot(page, "administration-challenger")
    axe(page)
    page.get_by_role("button", name="Make cnn_custom@1 challenger").click()
    expect(page).to_have_url(re.compile("/console/models/cnn_custom/1$"))
    expect(page.get_by_role("heading", level=1)).to_contain_text("challenger")
    axe(page)
    page.goto("/console/models")
    page.get_by_role("link", name="Retire the challenger").click()
    page.get_by_role("button", name="Retire the challenger").click()
    expect(page).to_have_url(re.compile("/console/models$"))
    expect(page.get_by_role("link", name="Make cnn_custom@1 challenger")).to_be_visible()
    expect(page.get_by_role("link", name="Retire the challenger")).to_have_count(0)


def test_a_promotion_that_the_gate_forbids_is_refused_in_words(browser_page: Page, axe) -> None:
    page = browser_page
    page.watch.expect("status of 403")
    page.goto("/console/models/vgg16_baseline/1/promote")
    page.get_by_label("Reason").fill("to see it refused")
    page.get_by_label("Key of a second administrator").fill("ht_0123456789ab_none")
    page.get_by_role("button", name="Promote vgg16_baseline@1").click()
    expect(page.get_by_role("alert")).to_contain_text("second_key_invalid")
    expect(page.get_by_label("Reason")).to_have_value("to see it refused")
    axe(page)


def test_a_zip_is_imported_and_trained_on_and_the_training_cancelled(
    browser_page: Page, axe, shot, archive: Path
) -> None:
    page = browser_page
    page.goto("/console/data")
    page.get_by_label("Zip with one folder").set_input_files(archive)
    page.locator("input[name=name]").first.fill("walked through")
    page.get_by_role("button", name="Import").click()
    expect(page.get_by_text("ready", exact=True)).to_be_visible(timeout=120_000)
    expect(page.get_by_role("rowheader", name="Early")).to_be_visible()
    axe(page)
    page.goto("/console/trainings")
    page.get_by_label("Architecture").select_option("cnn_custom")
    page.get_by_label("Data set").select_option("walked through")
    page.get_by_text("Other than the recipe has it").click()
    page.get_by_label("Epochs at most").fill("2")
    page.get_by_role("button", name="Start the training").click()
    expect(page.get_by_role("heading", level=1, name="cnn_custom")).to_be_visible()
    shot(page, "administration-training")
    axe(page)
    page.get_by_role("button", name="Cancel the training").click()
    expect(page.get_by_text("cancelled", exact=True)).to_be_visible()


def test_a_key_is_made_copied_used_and_revoked(browser_page: Page, open_page, axe, shot) -> None:
    page = browser_page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto("/console/keys")
    page.get_by_label("Who uses it").fill("a walk")
    page.get_by_role("button", name="Make the key").click()
    secret = page.locator("#secret").input_value()
    page.get_by_role("button", name="Copy", exact=True).click()
    expect(page.get_by_text("Copied.")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == secret
    axe(page)
    other = open_page()
    sign_in(other, secret)
    other.goto("/console/queues")
    expect(other.get_by_role("heading", level=1)).to_be_visible()
    page.goto("/console/keys")
    assert secret not in page.content()
    row = page.get_by_role("row").filter(has_text=secret.split("_")[1])
    row.get_by_role("link", name="Revoke").click()
    shot(page, "administration-revoke")
    axe(page)
    page.get_by_role("button", name="Revoke").click()
    expect(row.get_by_text("revoked")).to_be_visible()
    other.wait_for_timeout(1_100 * TRUST_SECONDS)  # so long may the other process trust it
    other.goto("/console/queues")
    expect(other.get_by_role("heading", name="Sign in")).to_be_visible()


def test_pages_work_without_scripts(open_page, service, archive: Path) -> None:
    page: Page = open_page(java_script_enabled=False)
    sign_in(page, service.api_key)
    page.goto("/console/data")
    page.get_by_label("Zip with one folder").set_input_files(archive)
    page.get_by_role("button", name="Import").click()
    expect(page.get_by_role("heading", level=1, name="Data set")).to_be_visible()
    page.goto("/console/audit")
    page.get_by_label("Action").fill("dataset.requested")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("cell", name="dataset.requested").first).to_be_visible()
