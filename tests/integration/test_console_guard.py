"""What guards the pages of the console."""

from __future__ import annotations

import io
import re

import pytest
from flask.testing import FlaskClient
from pydantic import SecretStr
from sqlalchemy import select

from services.api.app import create_app
from services.api.context import EXTENSION
from shared.auth.keys import Scope, create_key
from shared.db.models import AuditRow
from shared.local.ports import free_ports
from shared.settings import Settings

SIGN_IN = "/console/sign-in"
COOKIE = "hemotriage"


def with_secret(settings: Settings, **changes: object) -> Settings:
    return settings.model_copy(update={"console_secret": SecretStr("s" * 32), **changes})


@pytest.fixture
def browser(settings: Settings, sessions, storage) -> FlaskClient:
    return create_app(with_secret(settings)).test_client()


def token_of(browser: FlaskClient) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', browser.get(SIGN_IN).text)
    assert found is not None
    return found[1]


def enter(browser: FlaskClient, sessions) -> str:
    """Sign in by a new key with every scope; returns its id."""
    key, secret = create_key(sessions, "Dr Lovelace", set(Scope))
    data = {"key": secret, "csrf_token": token_of(browser)}
    assert browser.post(SIGN_IN, data=data).status_code == 302
    return key.id


def test_a_strangers_upload_is_refused_before_it_is_read(browser) -> None:
    class Untouched(io.BytesIO):
        def read(self, *_: object) -> bytes:
            raise AssertionError("somebody read the body")

    answer = browser.post(
        "/console/send",
        input_stream=Untouched(),
        content_type="multipart/form-data; boundary=x",
        content_length=100_000_000,
    )
    assert (answer.status_code, answer.location) == (302, SIGN_IN)


@pytest.mark.parametrize("path", [SIGN_IN, "/console/looks", "/console/sign-out"])
def test_a_form_that_anybody_may_send_has_no_room_for_a_file(browser, path) -> None:
    data = {"csrf_token": token_of(browser), "file": (io.BytesIO(b"x" * 100_000), "x.bin")}
    answer = browser.post(path, data=data)
    assert (answer.status_code, answer.mimetype) == (413, "text/html")


def test_a_database_that_is_away_is_told_on_a_page(browser, settings, sessions) -> None:
    enter(browser, sessions)
    cookie = browser.get_cookie(COOKIE, path="/console")
    assert cookie is not None
    nowhere = SecretStr(f"postgresql+psycopg2://x:x@127.0.0.1:{free_ports(1)[0]}/x")
    away = create_app(with_secret(settings, database_url=nowhere)).test_client()
    away.set_cookie(COOKIE, cookie.value, path="/console")
    answer = away.get("/console/worklist")
    assert answer.status_code == 503
    assert answer.mimetype == "text/html"


def test_an_address_of_no_case_is_told_on_a_page(browser, sessions) -> None:
    enter(browser, sessions)
    unknown = browser.get("/console/cases/00000000-0000-0000-0000-000000000000")
    assert (unknown.status_code, unknown.mimetype) == (404, "text/html")
    nowhere = browser.get("/console/<b>nowhere")
    assert (nowhere.status_code, nowhere.mimetype) == (404, "text/html")
    assert "<b>nowhere" not in nowhere.text


def test_what_a_page_asks_again_and_again_is_recorded_once_a_minute(browser, sessions) -> None:
    key_id = enter(browser, sessions)
    for _ in range(3):
        assert browser.get("/console/queues/now", headers={"HX-Request": "true"}).status_code == 200
        assert browser.get("/console/queues").status_code == 200
    browser.application.extensions[EXTENSION].calls.flush()
    wanted = select(AuditRow.details["route"].astext).where(AuditRow.actor == f"key:{key_id}")
    with sessions() as session:
        routes = session.scalars(wanted).all()
    assert routes.count("/console/queues") == 3
    assert routes.count("/console/queues/now") == 1


def test_a_client_of_the_api_that_calls_itself_a_page_is_recorded_all_the_same(
    client, sessions, key_id
) -> None:
    for _ in range(2):
        assert client.get("/v1/jobs", headers={"HX-Request": "true"}).status_code == 200
    client.application.extensions[EXTENSION].calls.flush()
    wanted = select(AuditRow.id).where(AuditRow.details["route"].astext == "/v1/jobs")
    with sessions() as session:
        assert len(session.scalars(wanted).all()) == 2


def test_a_copy_of_a_cookie_opens_nothing_after_the_sign_out(browser, settings, sessions) -> None:
    enter(browser, sessions)
    cookie = browser.get_cookie(COOKIE, path="/console")
    assert cookie is not None
    thief = create_app(with_secret(settings)).test_client()
    thief.set_cookie(COOKIE, cookie.value, path="/console")
    assert thief.get("/console/queues").status_code == 200
    found = re.search(r'name="csrf_token" value="([^"]+)"', browser.get("/console/queues").text)
    assert found is not None
    assert browser.post("/console/sign-out", data={"csrf_token": found[1]}).status_code == 302
    assert thief.get("/console/queues").status_code == 302
