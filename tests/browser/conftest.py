"""A real Chromium in front of a running service, which may speak to nobody else."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Request, Route, expect, sync_playwright

from shared.local.service import LocalService
from shared.settings import PROJECT_ROOT

expect.set_options(timeout=30_000)

CHROMIUM = Path("/usr/bin/chromium")
SCREENSHOTS = PROJECT_ROOT / "var" / "screenshots"

# WCAG 2.2, levels A and AA, and what axe calls good practice besides.
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium; the tests are skipped where it is not installed.

    For one module: an event loop of Playwright runs as long, in which no other could be run.
    """
    if not CHROMIUM.is_file():
        pytest.skip("Chromium is not installed (apt-get install chromium)")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"]
        )
        yield launched
        launched.close()


class Watch:
    """What a page did that none may do."""

    def __init__(self, page: Page, home: str) -> None:
        self.wrongs: list[str] = []
        self.expected: list[str] = []
        self._home = home
        page.on("request", self._asked)
        page.on("pageerror", lambda error: self.wrongs.append(f"script: {error}"))
        page.on("console", lambda said: said.type == "error" and self.wrongs.append(said.text))

    def expect(self, pattern: str) -> None:
        """Take an error for what the test is about, such as `status of 422`."""
        self.expected.append(pattern)

    def unexpected(self) -> list[str]:
        """Errors of scripts, violations of the content security policy, calls to other hosts."""
        return [
            wrong
            for wrong in self.wrongs
            if not any(re.search(pattern, wrong) for pattern in self.expected)
        ]

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((self._home, "data:", "blob:")):
            self.wrongs.append(f"asked for {request.url}")


@pytest.fixture
def open_page(browser: Browser, service: LocalService) -> Iterator[Callable[..., Page]]:
    """Opens pages of strangers, each with a session of its own; `page.watch` is its `Watch`."""
    service.ensure_alive()
    contexts = []
    watches = []

    def opened(**options: Any) -> Page:
        viewport = options.pop("viewport", {"width": 1280, "height": 900})
        context = browser.new_context(base_url=service.url, viewport=viewport, **options)
        page = context.new_page()
        page.watch = Watch(page, service.url)  # type: ignore[attr-defined]
        contexts.append(context)
        watches.append(page.watch)  # type: ignore[attr-defined]
        return page

    yield opened
    for context in contexts:
        context.close()
    assert [wrong for watch in watches for wrong in watch.unexpected()] == []


def sign_in(page: Page, key: str) -> None:
    """Sign in by a key, as by hand, and wait for the answer, which may be a refusal."""
    page.goto("/console/sign-in")
    page.locator("#key").fill(key)
    with page.expect_navigation():
        page.locator("#key").press("Enter")


def slow_scripts(page: Page) -> None:
    """Let our scripts come late, as from a busy host: later than what is seen before them."""

    def late(route: Route) -> None:
        time.sleep(1)
        route.continue_()

    page.route(re.compile(r"/static/\w+\.js"), late)


@pytest.fixture
def browser_page(open_page: Callable[..., Page], service: LocalService) -> Page:
    """A page of somebody with every scope."""
    page = open_page()
    sign_in(page, service.api_key)
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    return page


@pytest.fixture
def axe() -> Callable[[Page], None]:
    """Asserts that axe finds no violation on a page, in light and in dark."""

    def check(page: Page) -> None:
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            options = {"runOnly": {"type": "tag", "values": _RULES}}
            found = Axe().run(page, options=options).response["violations"]
            told = [
                (one["id"], one["help"], [node["html"][:200] for node in one["nodes"]])
                for one in found
            ]
            assert told == [], f"{page.url}, {scheme}: {json.dumps(told, indent=1)}"

    return check


@pytest.fixture
def shot() -> Callable[[Page, str], Path]:
    """Keeps a screenshot of a whole page, for people to look at."""

    def keep(page: Page, name: str) -> Path:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        path = SCREENSHOTS / f"{name}.png"
        page.screenshot(path=path, full_page=True)
        return path

    return keep
