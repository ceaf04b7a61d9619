"""Somebody who has read nothing: from the address that `make run` prints to a reviewed case."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from shared.client import Client
from shared.local.service import LocalService
from shared.local.synthetic import SYNTHETIC_SMEAR

FIRST = "FIRST-CASE"


@pytest.fixture
def printed_address(service: LocalService) -> str:
    """As after `make run`: a result is there, and an address is printed."""
    with Client(service.url, service.api_key) as client:
        fields = {"priority": "stat", "accession_number": FIRST}
        job = client.submit([SYNTHETIC_SMEAR], fields=fields)
        assert client.wait(job.id, timeout=120).status == "succeeded"
    return f"{service.url}/console/sign-in#key={service.api_key}"


def find(page: Page) -> None:
    """Look for the case: other tests of the same service have filled the list."""
    page.get_by_label("Accession number").fill(FIRST)
    page.get_by_role("button", name="Apply").click()
    expect(page).to_have_url(re.compile(f"accession_number={FIRST}"))


def test_from_the_printed_address_to_a_reviewed_case(open_page, printed_address, shot) -> None:
    page: Page = open_page()
    page.goto(printed_address)
    expect(page.get_by_role("heading", name="Worklist", level=1)).to_be_visible(timeout=30_000)
    find(page)
    page.get_by_role("link", name=FIRST).first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(FIRST)
    page.get_by_role("button", name=re.compile("^Confirm")).click()
    expect(page.get_by_text("You signed")).to_be_visible(timeout=30_000)
    shot(page, "first-case-signed")
    page.get_by_role("link", name="Worklist").first.click()
    expect(page.get_by_role("heading", name="Worklist", level=1)).to_be_visible(timeout=30_000)
    find(page)
    expect(page.get_by_role("link", name=FIRST)).to_have_count(0)
