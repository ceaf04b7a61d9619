"""Signing in to the console at an OpenID provider."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from flask.testing import FlaskClient
from pydantic import SecretStr
from sqlalchemy import select

from services.api.app import create_app
from shared.auth.keys import list_keys, revoke_key
from shared.db.models import AuditRow
from shared.settings import Settings
from tests.oidc_issuer import Issuer

BEGIN = "/console/sign-in/elsewhere"
HOME = "/console/"


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    running = Issuer()
    yield running
    running.close()


@pytest.fixture
def browser(settings: Settings, issuer: Issuer, sessions, storage) -> FlaskClient:
    changes = {"oidc_issuers": issuer.setting, "console_secret": SecretStr("s" * 32)}
    return create_app(settings.model_copy(update=changes)).test_client()


def begin(browser: FlaskClient, issuer: Issuer, onward: str = HOME) -> str:
    """Go to the provider; returns the address that it sends the browser back to."""
    sent = browser.get(BEGIN, query_string={"issuer": issuer.url, "next": onward})
    assert sent.status_code == 302, sent.text
    back = httpx.get(sent.location, trust_env=False)
    return back.headers["location"]


def path_of(address: str) -> str:
    parts = urlsplit(address)
    assert (parts.scheme, parts.netloc) == ("http", "localhost")
    return f"{parts.path}?{parts.query}"


def test_somebody_signs_in_elsewhere_and_goes_on_from_where_they_were(
    browser, issuer, sessions
) -> None:
    back = browser.get(path_of(begin(browser, issuer, "/console/looks")))
    assert (back.status_code, back.location) == (302, "/console/looks")
    assert "jdoe" in browser.get("/console/sign-in", follow_redirects=True).text
    with sessions() as session:
        actions = session.scalars(select(AuditRow.action)).all()
    assert "console.signed_in" in actions


def test_what_may_be_done_is_what_the_token_says(browser, issuer) -> None:
    issuer.claims = {"scope": "openid"}
    browser.get(path_of(begin(browser, issuer)))
    refused = browser.get(HOME)
    assert refused.status_code == 403


def test_a_session_ends_with_its_token(browser, issuer) -> None:
    # 30 s are what the clocks may be apart.
    issuer.claims = {"exp": 1}
    back = browser.get(path_of(begin(browser, issuer)))
    assert back.status_code == 401
    assert browser.get(HOME).status_code == 302


def test_an_identity_that_is_revoked_is_signed_out(browser, issuer, sessions) -> None:
    browser.get(path_of(begin(browser, issuer)))
    assert browser.get("/console/sign-in").status_code == 302
    (identity,) = [key for key in list_keys(sessions) if key.subject == "jdoe"]
    revoke_key(sessions, identity.id)
    assert browser.get("/console/sign-in").status_code == 200


def test_a_code_of_somebody_else_signs_nobody_in(browser, issuer, settings) -> None:
    """Who lures a browser to their own return address does not sign it in as themselves."""
    begin(browser, issuer)
    changes = {"oidc_issuers": issuer.setting, "console_secret": SecretStr("s" * 32)}
    attacker = create_app(settings.model_copy(update=changes)).test_client()
    refused = browser.get(path_of(begin(attacker, issuer)))
    assert refused.status_code == 401
    assert browser.get("/console/sign-in").status_code == 200


def test_a_return_with_letters_that_no_state_has_is_refused(browser, issuer) -> None:
    begin(browser, issuer)
    refused = browser.get("/console/sign-in/back", query_string={"state": "\u00e9", "code": "x"})
    assert refused.status_code == 401


def test_an_address_of_return_works_once(browser, issuer) -> None:
    back = path_of(begin(browser, issuer))
    assert browser.get(back).status_code == 302
    assert browser.get(back).status_code == 401


def test_a_token_for_another_sign_in_is_refused(browser, issuer) -> None:
    issuer.claims = {"nonce": "of another"}
    assert browser.get(path_of(begin(browser, issuer))).status_code == 401


def test_the_secrets_of_a_sign_in_are_in_no_address(browser, issuer) -> None:
    sent = browser.get(BEGIN, query_string={"issuer": issuer.url})
    query = parse_qs(urlsplit(sent.location).query)
    assert query["code_challenge_method"] == ["S256"]
    assert "code_verifier" not in query
    assert query["client_id"] == ["hemotriage"]


def test_a_provider_that_is_away_is_said_in_words(browser, issuer) -> None:
    issuer.is_away = True
    away = browser.get(BEGIN, query_string={"issuer": issuer.url})
    assert away.status_code == 503
    assert "issuer_unavailable" in away.text


def test_nobody_is_sent_to_a_provider_that_is_not_trusted(browser) -> None:
    unknown = browser.get(BEGIN, query_string={"issuer": "https://elsewhere.example"})
    assert unknown.status_code == 404


def test_without_a_secret_there_is_no_console(settings: Settings, sessions) -> None:
    plain = create_app(settings.model_copy(update={"console_secret": None})).test_client()
    assert plain.get("/console/sign-in").status_code == 404
    assert plain.get("/").location == "/docs/"
