"""Whoever tries key after key is looked at no more."""

from __future__ import annotations

import pytest
from apiflask import APIFlask

from services.api.app import create_app
from shared.auth.keys import Scope, create_key
from tests.integration.access.scene import token_in
from tests.integration.test_console_guard import with_secret

MOST = 3


@pytest.fixture
def strict(settings, sessions, storage) -> APIFlask:
    return create_app(with_secret(settings, failed_sign_ins_per_minute=MOST))


def ask(application: APIFlask, text: str, address: str = "192.0.2.1"):
    headers = {"Authorization": f"Bearer {text}"}
    environ = {"REMOTE_ADDR": address}
    return application.test_client().get("/v1/jobs", headers=headers, environ_base=environ)


def test_after_so_many_invalid_keys_an_address_waits(strict, sessions) -> None:
    codes = [ask(strict, f"ht_{number:012x}_x").status_code for number in range(MOST + 2)]
    assert codes == [401] * MOST + [429] * 2
    refused = ask(strict, "nonsense")
    assert refused.json["code"] == "too_many_attempts"
    assert 0 < int(refused.headers["Retry-After"]) <= 60
    _, text = create_key(sessions, "new", [Scope.READ])
    assert ask(strict, text).status_code == 429, "what was never seen valid is not looked at"
    assert ask(strict, text, "192.0.2.2").status_code == 200, "elsewhere it is"


def test_who_was_known_is_let_in_beside_one_who_guesses(strict, sessions) -> None:
    _, text = create_key(sessions, "good", [Scope.READ])
    assert ask(strict, text).status_code == 200
    for _ in range(MOST + 1):
        ask(strict, "nonsense")
    assert ask(strict, text).status_code == 200


def test_a_sign_in_at_the_console_counts_and_is_refused_alike(strict) -> None:
    browser = strict.test_client()
    token = token_in(browser.get("/console/sign-in").text)
    codes = [
        browser.post("/console/sign-in", data={"key": "x", "csrf_token": token}).status_code
        for _ in range(MOST + 1)
    ]
    assert codes == [401] * MOST + [429]
    assert ask(strict, "nonsense", "127.0.0.1").status_code == 429


def test_a_key_that_no_database_takes_is_an_attempt_as_any(strict) -> None:
    browser = strict.test_client()
    token = token_in(browser.get("/console/sign-in").text)
    codes = [
        browser.post("/console/sign-in", data={"key": "ht_a\0b_x", "csrf_token": token}).status_code
        for _ in range(MOST + 1)
    ]
    assert codes == [401] * MOST + [429]


def test_a_call_without_a_key_is_no_attempt(strict, sessions) -> None:
    for _ in range(MOST + 1):
        assert strict.test_client().get("/v1/jobs").status_code == 401
    assert ask(strict, "nonsense", "127.0.0.1").status_code == 401
