"""A laboratory's day: images are sent, followed, found in the worklist, looked at and printed."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from shared.client import Client
from shared.local.service import LocalService
from tests.browser.conftest import sign_in
from tests.factories import smear_bytes

pytestmark = [pytest.mark.exhaustive, pytest.mark.slow]

RESULT_MS, EXPLANATION_MS = 60_000, 60_000


@pytest.fixture
def name() -> str:
    return f"L-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def smears(tmp_path: Path) -> list[Path]:
    """Files of two drawn fields, the second a TIFF, which browsers do not show."""
    files = [tmp_path / "one.png", tmp_path / "two.tiff"]
    for file, image_format in zip(files, ("PNG", "TIFF"), strict=True):
        file.write_bytes(smear_bytes(7, image_format))
    return files


@pytest.fixture
def case(client: Client, smears: list[Path], name: str) -> str:
    """The address of a case of two fields with a result."""
    job = client.submit(smears, fields={"accession_number": name})
    client.wait(job.id, timeout=120)
    return f"/console/cases/{job.id}"


def test_fields_of_a_specimen_are_sent_and_followed_to_their_result(
    browser_page: Page, smears, name, axe, shot
) -> None:
    page = browser_page
    page.get_by_role("link", name="Send", exact=True).click()
    page.get_by_label("Fields of one specimen").set_input_files(smears)
    expect(page.locator("#thumbs li")).to_have_count(2)
    page.get_by_role("button", name="Leave out: two.tiff").click()
    expect(page.get_by_text("Files chosen: 1")).to_be_visible()
    page.get_by_label("Accession number").fill(name)
    page.get_by_label("Pseudonym").fill("P-7")
    axe(page)
    shot(page, "send")
    page.get_by_role("button", name="Send", exact=True).click()
    sent = page.locator(".sent > .new")
    expect(sent).to_contain_text(name)
    expect(sent.locator(".badge")).to_be_visible(timeout=RESULT_MS)
    shot(page, "send-followed")
    sent.get_by_role("link", name=name).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Case {name}")


def test_a_refused_file_is_told_with_its_code_and_the_form_stays(
    browser_page: Page, tmp_path, name, axe, shot
) -> None:
    page = browser_page
    page.watch.expect("status of 415")
    wrong = tmp_path / "notes.png"
    wrong.write_bytes(b"no image at all")
    page.goto(f"/console/send?accession_number={name}")
    page.get_by_label("Fields of one specimen").set_input_files(wrong)
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("unsupported_media_type")
    expect(page.get_by_role("alert")).to_contain_text("notes.png")
    expect(page.get_by_label("Accession number")).to_have_value(name)
    expect(page.locator("#thumbs li")).to_have_count(1)
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_enabled()
    axe(page)
    shot(page, "send-refused")


def test_files_are_dropped(browser_page: Page) -> None:
    page = browser_page
    page.goto("/console/send")
    dropped = page.evaluate_handle(
        """() => {
            const all = new DataTransfer();
            all.items.add(new File(["x"], "slide.dcm", { type: "application/dicom" }));
            return all;
        }"""
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": dropped})
    expect(page.locator("#thumbs li")).to_contain_text("slide.dcm")
    assert page.locator("#image").evaluate("input => input.files.length") == 1


def test_a_new_case_is_announced_and_moves_nothing(
    browser_page: Page, client: Client, smears, case, name
) -> None:
    page = browser_page
    page.goto(f"/console/worklist?accession_number={name}&reading=any")
    row = page.locator("tbody tr")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("attern consistent with")
    before = row.bounding_box()
    client.wait(client.submit(smears[:1], fields={"accession_number": name}).id, timeout=120)
    expect(page.get_by_role("link", name="Show new cases")).to_be_visible(timeout=RESULT_MS)
    expect(page.locator("#announcer")).to_contain_text("New cases: 1")
    assert row.bounding_box() == before
    page.get_by_role("link", name="Show new cases").click()
    expect(row).to_have_count(2)


def test_the_worklist_is_for_everybody(browser_page: Page, case, axe, shot) -> None:
    page = browser_page
    page.goto("/console/worklist")
    expect(page.locator("#live h2")).to_be_visible()
    axe(page)
    shot(page, "worklist")


def test_a_field_is_looked_at_by_the_keyboard_and_explained(
    browser_page: Page, case, axe, shot
) -> None:
    page = browser_page
    page.goto(f"{case}?field=1")
    field = page.locator("#field")
    expect(field).to_have_js_property("complete", True)
    assert field.evaluate("image => image.naturalWidth") == 224  # a TIFF, shown as PNG
    page.locator("#stage").focus()
    page.keyboard.press("+")
    expect(page.locator("#canvas")).to_have_attribute("style", re.compile(r"scale\(1\.4"))
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#canvas")).to_have_attribute("style", re.compile(r"translate\([1-9]"))
    page.keyboard.press("0")
    expect(page.locator("#canvas")).to_have_attribute("style", re.compile(r"scale\(1\) "))
    page.get_by_role("button", name="Make the explanation Grad-CAM").click()
    overlay = page.locator("#overlay")
    expect(overlay).to_be_visible(timeout=EXPLANATION_MS)
    page.get_by_label("Overlay").fill("25")
    expect(overlay).to_have_css("opacity", "0.25")
    axe(page)
    shot(page, "case")


def test_a_case_is_read_in_indonesian_on_a_small_screen_and_on_paper(
    open_page: Callable[..., Page], service: LocalService, case, axe, shot
) -> None:
    page = open_page(locale="id-ID", viewport={"width": 768, "height": 1000})
    sign_in(page, service.api_key)
    page.goto(case)
    expect(page.get_by_text("bukan diagnosis").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 768
    axe(page)
    shot(page, "case-small-indonesian")
    page.goto("/console/worklist")
    assert page.evaluate("document.documentElement.scrollWidth") <= 768
    page.goto(case)
    page.emulate_media(media="print")
    expect(page.get_by_role("navigation")).to_have_count(0)
    expect(page.get_by_text("bukan diagnosis").first).to_be_visible()
    report = page.request.get(f"{case}/report.pdf")
    assert report.body().startswith(b"%PDF-")


def test_sending_works_without_scripts(
    open_page: Callable[..., Page], service: LocalService, smears, name
) -> None:
    page = open_page(java_script_enabled=False)
    sign_in(page, service.api_key)
    page.goto("/console/send")
    page.get_by_label("Fields of one specimen").set_input_files(smears)
    page.get_by_label("Accession number").fill(name)
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page).to_have_url(re.compile(r"/console/send\?sent="))
    page.goto(f"/console/worklist?status=queued&accession_number={name}")
    expect(page.get_by_role("heading", name="Worklist")).to_be_visible()
