"""Reading cases: by keys, by two readers, without scripts, and what is seen of it afterwards."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Locator, Page, expect
from sqlalchemy import select

from shared.auth.keys import Scope, create_key
from shared.client import Client
from shared.db.models import ReviewRow
from shared.db.session import Sessions, create_database, create_sessions
from shared.local.service import LocalService
from tests.browser.conftest import sign_in, slow_scripts
from tests.conftest import settings_of
from tests.factories import smear_bytes

pytestmark = [pytest.mark.exhaustive, pytest.mark.slow]


@pytest.fixture
def database(service: LocalService) -> Iterator[Sessions]:
    """The database of the running service."""
    engine = create_database(settings_of(service.environment()), pool_size=2)
    yield create_sessions(engine)
    engine.dispose()


@pytest.fixture
def read_by(open_page: Callable[..., Page], database: Sessions) -> Callable[..., Page]:
    """Opens a page of a new reader."""

    def opened(name: str, **options: object) -> Page:
        _, key = create_key(database, name, [Scope.READ, Scope.REVIEW])
        page = open_page(**options)
        sign_in(page, key)
        return page

    return opened


class Case:
    """A case with a result, known to its test by its accession number."""

    def __init__(self, service: LocalService, folder: Path, *seeds: int) -> None:
        self._service = service
        client = Client(service.url, service.api_key)
        self.name = f"R-{uuid.uuid4().hex[:8]}"
        images = [folder / f"{self.name}-{seed}.png" for seed in seeds]
        for image, seed in zip(images, seeds, strict=True):
            image.write_bytes(smear_bytes(seed))
        self.id = client.submit(images, fields={"accession_number": self.name}).id
        job = client.wait(self.id, timeout=120)
        assert job.result is not None
        self.prediction = job.result.prediction

    @property
    def address(self) -> str:
        return f"/console/review/{self.id}"

    @property
    def across(self) -> str:
        """The key of a label that takes two readers."""
        return "2" if self.prediction == "Benign" else "1"

    def state(self) -> str:
        answer = httpx.get(
            f"{self._service.url}/v1/jobs/{self.id}/reviews",
            headers={"Authorization": f"Bearer {self._service.api_key}"},
        )
        return str(answer.raise_for_status().json()["case_state"])


@pytest.fixture
def case(service: LocalService, tmp_path: Path) -> Callable[..., Case]:
    """Makes cases of drawn fields, each by its seed."""
    return lambda *seeds: Case(service, tmp_path, *seeds)


def heading(page: Page) -> Locator:
    return page.get_by_role("heading", level=1)


def test_a_case_is_signed_by_one_key_and_the_next_one_comes_at_once(
    read_by, case, axe, shot
) -> None:
    first, _ = case(1, 11), case(2)
    page = read_by("Dr Lovelace")
    page.goto(first.address)
    expect(page.get_by_role("heading", name=first.name)).to_be_visible()
    shot(page, "review")
    page.keyboard.press("c")
    expect(page.get_by_text("The case is closed as")).to_be_visible()
    expect(page).to_have_url(re.compile("/console/review$"))
    expect(heading(page)).to_have_text(re.compile("^Read "))
    expect(heading(page)).not_to_contain_text(first.name)
    axe(page)
    assert first.state() == "closed"
    page.keyboard.press("z")
    expect(page.get_by_text("It stands until you sign again")).to_be_visible()
    expect(page.get_by_role("heading", name=first.name)).to_be_visible()
    page.keyboard.press("u")
    expect(page.get_by_label("Uncertain")).to_be_checked()
    page.keyboard.press("c")
    expect(page.get_by_text("A second reader is asked")).to_be_visible()
    assert first.state() == "second_reading"


def test_keys_act_as_soon_as_the_decision_is_seen(read_by, case) -> None:
    read = case(7)
    page = read_by("Dr Quick")
    slow_scripts(page)
    page.goto(read.address, wait_until="commit")
    expect(page.get_by_role("button", name=re.compile("^Confirm"))).to_be_visible()
    page.keyboard.press("u")
    page.keyboard.press("c")
    expect(page.get_by_text("A second reader is asked")).to_be_visible()
    assert read.state() == "second_reading"
    page.keyboard.press("z")
    expect(page.get_by_text("It stands until you sign again")).to_be_visible()
    page.goto(f"/console/cases/{read.id}", wait_until="commit")
    expect(page.get_by_role("button", name=re.compile("^Confirm"))).to_be_visible()
    page.keyboard.press("u")
    expect(page.get_by_label("Uncertain")).to_be_checked()


def test_a_second_reader_sees_nothing_of_the_first_until_both_have_signed(
    read_by, case, axe, shot
) -> None:
    read = case(3)
    first, second = read_by("Dr First"), read_by("Dr Second")
    first.goto(read.address)
    first.keyboard.press("/")
    first.keyboard.type("c1 look at the rim")
    first.keyboard.press("Escape")
    first.keyboard.press(read.across)
    expect(first.get_by_text("A second reader is asked")).to_be_visible()
    second.goto(read.address)
    expect(second.get_by_text("Second reading")).to_be_visible()
    expect(second.get_by_text("c1 look at the rim")).to_have_count(0)
    expect(second.get_by_text("Dr First")).to_have_count(0)
    shot(second, "review-second")
    second.keyboard.press("c")
    expect(second.get_by_text("The readers disagree")).to_be_visible()
    second.goto(read.address)
    expect(second.get_by_text("c1 look at the rim")).to_be_visible()
    axe(second)
    shot(second, "review-disagreement")
    second.keyboard.press(read.across)
    expect(second.get_by_text("The case is closed as")).to_be_visible()
    assert read.state() == "closed"
    second.goto("/console/review/mine")
    expect(second.get_by_role("row", name=re.compile(read.name))).to_contain_text("agrees with you")
    axe(second)
    shot(second, "review-mine")


def test_keys_are_explained_and_can_be_turned_off(read_by, case, axe, shot) -> None:
    read = case(4)
    page = read_by("Dr Keys", viewport={"width": 800, "height": 900})
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.method))
    page.goto(read.address)
    shot(page, "review-narrow")
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    axe(page)
    page.keyboard.press("c")
    dialog.get_by_label("Single keys act in this browser").uncheck()
    dialog.get_by_role("button", name="Close").click()
    page.keyboard.press("c")
    page.reload()
    page.keyboard.press("c")
    expect(page.get_by_role("heading", name=read.name)).to_be_visible()
    assert set(asked) == {"GET"}
    assert read.state() == "unread"


def test_without_scripts_a_case_is_left_and_signed_by_buttons(read_by, case, database) -> None:
    left = case(5)
    page = read_by("Dr Plain", java_script_enabled=False)
    page.goto(left.address)
    page.get_by_role("button", name="Not now").click()
    expect(page).to_have_url(re.compile("/console/review$"))
    expect(heading(page)).not_to_contain_text(left.name)
    page.goto(left.address)
    page.get_by_label("Comment").fill("by hand\nand by eye")
    page.get_by_label("Uncertain").check()
    page.get_by_role("button", name=re.compile("^Confirm")).click()
    expect(page.get_by_text("A second reader is asked")).to_be_visible()
    assert left.state() == "second_reading"
    with database() as session:
        (comment,) = session.scalars(
            select(ReviewRow.comment).where(ReviewRow.job_id == uuid.UUID(left.id))
        )
    assert comment == "by hand\nand by eye"


def test_the_page_of_a_case_has_the_same_panel(read_by, case) -> None:
    read = case(6)
    page = read_by("Dr Case", viewport={"width": 800, "height": 900})
    page.goto(f"/console/cases/{read.id}")
    page.keyboard.press("c")
    expect(page.get_by_text("Closed as")).to_be_visible()
    assert f"/console/cases/{read.id}" in page.url


def test_nobody_without_the_scope_reads(open_page, database) -> None:
    _, key = create_key(database, "archive", [Scope.READ])
    page = open_page()
    page.watch.expect("403")
    sign_in(page, key)
    page.goto("/console/review")
    expect(page.get_by_role("alert")).to_be_visible()
    expect(page.get_by_role("link", name="Review")).to_have_count(0)
