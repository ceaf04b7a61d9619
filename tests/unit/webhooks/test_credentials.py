"""What archives are told goes to them alone, over TLS, and is shown nowhere."""

from __future__ import annotations

import base64

import pytest
from pydantic import ValidationError

from shared.settings import Settings
from shared.webhooks.credentials import authorization_for, check_credentials, parse_credentials
from shared.webhooks.destinations import Destination, parse_destinations
from tests.dicom import settings_without_servers

SECURE = "stow+https://pacs.example.org/dicom-web"


def destination(url: str = SECURE) -> Destination:
    return parse_destinations(url)[url]


def told(credentials: str, url: str = SECURE) -> str | None:
    return authorization_for(destination(url), parse_credentials(credentials))


def settings(credentials: str, destinations: str = SECURE) -> Settings:
    return settings_without_servers(
        result_destinations=destinations, result_credentials=credentials
    )


@pytest.mark.parametrize(
    ("entry", "known_by"),
    [
        ("pacs.example.org=basic:relay:secret", "relay:secret"),
        ("PACS.example.org:443=basic:relay:a:b=c/d", "relay:a:b=c/d"),
        ("pacs.example.org=basic:relay:1%2C2%25%C3%A9", "relay:1,2%é"),
        (" pacs.example.org=basic:r%20l:secret \n", "r l:secret"),
    ],
)
def test_a_user_and_password_are_told_as_rfc_7617_says(entry: str, known_by: str) -> None:
    assert told(entry) == "Basic " + base64.b64encode(known_by.encode()).decode()


def test_a_token_is_told_as_rfc_6750_says() -> None:
    assert told("pacs.example.org=bearer:a.b-c_d~e+f/0==") == "Bearer a.b-c_d~e+f/0=="


def test_a_host_with_its_port_comes_before_the_host() -> None:
    both = "pacs.example.org=bearer:any\nother=bearer:x,pacs.example.org:8443=bearer:near"
    assert told(both) == "Bearer any"
    assert told(both, "stow+https://pacs.example.org:8443/dicom-web") == "Bearer near"


@pytest.mark.parametrize(
    "url",
    [
        "stow+https://another.example.org",
        "stow+https://pacs.example.org:8443",
        "mllps://pacs.example.org:443",
        "dicom://PACS@pacs.example.org:443",
    ],
)
def test_nobody_else_is_told(url: str) -> None:
    assert told("pacs.example.org:443=bearer:x", url) is None


@pytest.mark.parametrize(
    "entry",
    [
        "pacs.example.org",
        "pacs.example.org=secret-1",
        "pacs.example.org=digest:user:secret-1",
        "pacs.example.org=basic:secret-1",
        "pacs.example.org=basic::secret-1",
        "pacs.example.org=basic:user:",
        "pacs.example.org=basic:us er:secret-1",
        "pacs.example.org=basic:user:secret-1%",
        "pacs.example.org=basic:user:secret-1%zz",
        "pacs.example.org=bearer:",
        "pacs.example.org=bearer:secret-1 2",
        "pacs.example.org=bearer:secret-1\r2",
        "https://pacs.example.org=bearer:secret-1",
        "pacs.example.org:0=bearer:secret-1",
        "pacs.example.org=bearer:x,pacs.example.org=bearer:secret-1",
    ],
)
def test_what_is_malformed_is_refused_at_the_start_and_not_shown(entry: str) -> None:
    with pytest.raises(ValidationError, match="result_credentials") as refused:
        settings(entry)
    assert "secret-1" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["stow+http://pacs.example.org/dicom-web", "stow+http://10.1.2.3/dicom-web"]
)
def test_nothing_is_told_in_the_clear(url: str) -> None:
    host = url.split("/")[2]
    with pytest.raises(ValueError, match="is called without TLS"):
        settings(f"{host}=bearer:secret-1", url)
    with pytest.raises(ValueError, match="is called without TLS"):
        settings(f"{host}=bearer:secret-1", f"stow+https://{host},{url}")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.1.2.3"])
def test_this_machine_needs_no_tls(host: str) -> None:
    url = f"stow+http://{host}:8042/dicom-web"
    assert settings(f"{host}:8042=bearer:x", url).result_credentials.get_secret_value()
    assert told(f"{host}:8042=bearer:x", url) == "Bearer x"


def test_a_credential_that_nobody_gets_is_a_mistake() -> None:
    for destinations in ("", "dicom://PACS@pacs.example.org:104"):
        with pytest.raises(ValueError, match="is no destination by STOW-RS"):
            settings("pacs.example.org=bearer:x", destinations)
    check_credentials(parse_credentials(" ,\n"), [])


def test_nothing_shows_a_credential() -> None:
    entry = "pacs.example.org=basic:relay:secret-1"
    shown = repr(parse_credentials(entry)) + repr(settings(entry)) + str(settings(entry))
    assert "pacs.example.org" in shown
    assert "secret-1" not in shown
    assert str(told(entry)) not in shown
