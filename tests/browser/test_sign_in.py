"""Signing in and out, and what guards the pages."""

from __future__ import annotations

import re

import httpx
import pytest
from playwright.sync_api import Page, expect

from shared.local.service import LocalService
from tests.browser.conftest import sign_in, slow_scripts

ADDRESS = "/console/sign-in"


def test_a_stranger_is_asked_who_they_are_and_goes_on_from_there(open_page, service) -> None:
    page: Page = open_page()
    page.goto("/console/")
    expect(page).to_have_url(re.compile(re.escape(ADDRESS)))
    page.get_by_label("API key").fill(service.api_key)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    with page.expect_navigation():
        page.get_by_role("button", name="Sign out").click()
    page.goto("/console/")
    expect(page).to_have_url(re.compile(re.escape(ADDRESS)))


def test_the_address_that_make_run_prints_signs_in_and_forgets_the_key(open_page, service) -> None:
    page: Page = open_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{ADDRESS}#key={service.api_key}")
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    assert service.api_key not in page.url
    assert not any(service.api_key in url for url in asked)


def test_a_wrong_key_is_refused_in_words(open_page, axe, shot) -> None:
    page: Page = open_page()
    page.watch.expect("401")
    sign_in(page, "ht_0123456789ab_none")
    expect(page.get_by_role("alert")).to_be_visible()
    axe(page)
    shot(page, "sign-in-refused")


def test_languages_and_colours_are_kept(open_page, axe, shot) -> None:
    page: Page = open_page(locale="en-GB")
    page.goto(ADDRESS)
    axe(page)
    page.locator("select[name=language]").select_option("id")
    expect(page.get_by_role("heading", name="Masuk")).to_be_visible()
    page.locator("select[name=theme]").select_option("dark")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.reload()
    expect(page.locator("html")).to_have_attribute("lang", "id")
    shot(page, "sign-in-dark")


def test_a_choice_counts_as_soon_as_it_is_seen(open_page) -> None:
    page: Page = open_page(locale="en-GB")
    slow_scripts(page)
    page.goto(ADDRESS, wait_until="commit")
    page.locator("select[name=theme]").select_option("dark")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_the_language_of_the_browser_is_the_first_one(open_page) -> None:
    page: Page = open_page(locale="id-ID")
    page.goto(ADDRESS)
    expect(page.get_by_role("heading", name="Masuk")).to_be_visible()


@pytest.fixture
def http(service: LocalService):
    with httpx.Client(base_url=service.url) as client:
        yield client


def token_of(text: str) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', text)
    assert found is not None
    return found[1]


def test_a_form_from_elsewhere_changes_nothing(http: httpx.Client, service) -> None:
    http.get(ADDRESS)
    forged = http.post(ADDRESS, data={"key": service.api_key})
    assert forged.status_code == 400
    assert "out of date" in forged.text
    assert http.get("/console/").is_redirect


@pytest.mark.parametrize(
    "wanted",
    [
        "https://elsewhere.example/",
        "//elsewhere.example",
        "/console/\\elsewhere.example",
        "/console/\t//elsewhere.example",
        "/v1/jobs",
    ],
)
def test_nobody_is_led_elsewhere(http: httpx.Client, service, wanted: str) -> None:
    token = token_of(http.get(ADDRESS).text)
    data = {"key": service.api_key, "csrf_token": token, "next": wanted}
    assert http.post(ADDRESS, data=data).headers["Location"] == "/console/"


def test_pages_are_kept_in_no_cache_and_run_no_script_but_ours(http: httpx.Client) -> None:
    headers = http.get(ADDRESS).headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    cookie = headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Secure" not in cookie  # on this machine itself there may be no TLS


def test_elsewhere_the_cookie_goes_over_tls_alone(http: httpx.Client) -> None:
    answer = http.get(ADDRESS, headers={"Host": "hemotriage.example"})
    assert "Secure" in answer.headers["Set-Cookie"]
