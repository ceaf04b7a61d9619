"""A list of allowed hosts comes with a good secret."""

from __future__ import annotations

import base64

import pytest
from pydantic import ValidationError

from shared.settings import Settings
from shared.webhooks.hosts import AllowedHosts
from shared.webhooks.signature import key_of, new_secret


def settings(**values: str) -> Settings:
    servers = {
        "database_url": "postgresql+psycopg2://u@h/d",
        "broker_url": "redis://h/0",
        "s3_endpoint": "h:1",
        "s3_access_key": "a",
        "s3_secret_key": "s",
    }
    return Settings.model_validate({**servers, **values})


def encoded(length: int) -> str:
    return base64.b64encode(bytes(length)).decode()


def test_the_settings_take_a_list_with_a_secret() -> None:
    for length in (24, 64):
        chosen = settings(webhook_allowed_hosts="a:1, b", webhook_secret=f"whsec_{encoded(length)}")
        assert chosen.webhook_secret is not None
    assert settings(webhook_secret="").webhook_secret is None
    assert settings(webhook_allowed_hosts=" , ").webhook_allowed_hosts == ""


@pytest.mark.parametrize(
    "secret",
    ["", "whsec_", encoded(32), f"whsec_{encoded(23)}", f"whsec_{encoded(65)}", "whsec_====é!"],
)
def test_a_list_without_a_good_secret_is_refused_and_the_secret_not_shown(secret: str) -> None:
    with pytest.raises(ValidationError, match="webhook_secret") as refused:
        settings(webhook_allowed_hosts="allowed", webhook_secret=secret)
    assert not secret or secret not in str(refused.value).replace("expected whsec_ and", "")
    with pytest.raises(ValidationError, match="webhook_secret"):
        settings(webhook_allowed_hosts="allowed")


def test_a_fresh_secret_is_a_good_one_and_no_two_are_the_same() -> None:
    secrets = {new_secret() for _ in range(20)}
    assert len(secrets) == 20
    assert {len(key_of(secret)) for secret in secrets} == {32}


@pytest.mark.parametrize(
    "entry",
    [
        "http://allowed",
        "allowed/",
        "allowed:",
        "allowed:0",
        "allowed:65536",
        "allowed:http",
        "*.example.org",
        "user@allowed",
        "10.0.0.0/8",
        "127.1",
        "2130706433",
        "fd00::1",
        "[fd00::1",
        "[allowed]",
        "allowed evil",
        "аllowed",
        "allowed.",
        "-allowed",
    ],
)
def test_a_malformed_entry_of_the_list_is_refused_at_the_start(entry: str) -> None:
    with pytest.raises(ValueError, match="expected NAME or NAME:PORT"):
        AllowedHosts.parse(f"good.example, {entry}")
    with pytest.raises(ValidationError, match="webhook_allowed_hosts") as refused:
        settings(webhook_allowed_hosts=entry, webhook_secret=new_secret())
    assert "expected NAME" in str(refused.value)
