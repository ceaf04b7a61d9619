"""Which URLs may be called back, what a webhook says, and how it is signed."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import json
import re
import time
import uuid
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.db.models import WebhookRow
from shared.settings import PROJECT_ROOT, Settings
from shared.webhooks.events import payload
from shared.webhooks.hosts import MAX_URL_LENGTH, AllowedHosts, Callback, CallbackNotAllowedError
from shared.webhooks.signature import key_of, new_secret, sign, verify

ALLOWED = AllowedHosts.parse("Allowed, lis.example.org:8443, 10.1.2.3, [fd00::1], k.example")

ACCEPTED = {
    "http://allowed": Callback("http", "allowed", 80, "/"),
    "https://allowed/": Callback("https", "allowed", 443, "/"),
    "HTTPS://ALLOWED:9/Path": Callback("https", "allowed", 9, "/Path"),
    "http://allowed?x=1": Callback("http", "allowed", 80, "/?x=1"),
    "http://allowed/@evil": Callback("http", "allowed", 80, "/@evil"),
    "http://allowed?@evil/": Callback("http", "allowed", 80, "/?@evil/"),
    "http://allowed/http://evil/": Callback("http", "allowed", 80, "/http://evil/"),
    "http://allowed/a%20b?c=d%26e": Callback("http", "allowed", 80, "/a%20b?c=d%26e"),
    "https://lis.example.org:8443/hook": Callback("https", "lis.example.org", 8443, "/hook"),
    "http://10.1.2.3:5000/": Callback("http", "10.1.2.3", 5000, "/"),
    "http://[fd00::1]/": Callback("http", "fd00::1", 80, "/"),
    "http://[FD00:0:0:0:0:0:0:1]:81/": Callback("http", "fd00::1", 81, "/"),
}

REFUSED = [
    "",
    "allowed",
    "//allowed/",
    "http:allowed/",
    "http:/allowed/",
    "http:///allowed/",
    "http://",
    # Other schemes.
    "ftp://allowed/",
    "file:///etc/passwd",
    "gopher://allowed/",
    "javascript://allowed/%0aalert(1)",
    "unix://allowed/",
    # Userinfo and fragments, where parsers differ about what the host is.
    "http://allowed@evil/",
    "http://allowed:80@evil/",
    "http://evil@allowed/",
    "http://user:password@allowed/",
    "http://evil#@allowed/",
    "http://evil?@allowed/",
    "http://allowed#@evil/",
    "http://allowed/#fragment",
    "http://allowed/?#",
    "http://@allowed/",
    # Names that only look like an allowed one.
    "http://allowed.evil.com",
    "http://evil.com/allowed",
    "http://notallowed/",
    "http://allowed-evil/",
    "http://evil.allowed/",
    "http://allowed./",
    "http://allowed../",
    "http://.allowed/",
    "http://lis.example.org.:8443/",
    "http://lis..example.org:8443/",
    "http://allowed,evil/",
    "http://allowed;evil/",
    "http://allowed&evil/",
    "http://*/",
    # Other ports of a host that is allowed with one.
    "https://lis.example.org/",
    "https://lis.example.org:443/",
    "https://lis.example.org:84430/",
    "http://allowed:0/",
    "http://allowed:65536/",
    "http://allowed:99999/",
    "http://allowed:/",
    "http://allowed:-1/",
    "http://allowed:8o/",
    "http://allowed:80:80/",
    "http://allowed: 80/",
    # Other forms of an address.
    "http://127.0.0.1/",
    "http://127.1/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.0x0.0x0.0x1/",
    "http://017700000001/",
    "http://10.1.515/",
    "http://167838211/",
    "http://10.1.2.03/",
    "http://10.1.2.3./",
    "http://10.1.2.3.4/",
    "http://0/",
    "http://0.0.0.0/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[::1]/",
    "http://[::]/",
    "http://[::ffff:10.1.2.3]/",
    "http://[fd00::1%25eth0]/",
    "http://[fd00::1]evil/",
    "http://[fd00::1/",
    "http://fd00::1/",
    "http://[allowed]/",
    "http://[v1.allowed]/",
    "http://localhost/",
    # Encoded characters in the host, and what is not two hexadecimal digits elsewhere.
    "http://%61llowed/",
    "http://allowed%2eevil/",
    "http://allowed%00.evil/",
    "http://allowed%/",
    "http://allowed/%",
    "http://allowed/%g0",
    # Control characters, spaces, backslashes, quotes.
    "http://allowed/\r\nHost: evil",
    "http://allowed/\n",
    "http://allowed\n",
    "http://allowed\r\n.evil/",
    "http://allow\ned/",
    "http://allowed\t/",
    "\thttp://allowed/",
    " http://allowed/",
    "http://allowed/ ",
    "http://allowed/a b",
    "http://allowed /",
    "http://allowed\x00/",
    "http://allowed/\x7f",
    "http://allowed\\@evil/",
    "http://evil\\@allowed/",
    "http:\\\\allowed\\",
    "http:/\\allowed/",
    "http://allowed/\\..\\",
    'http://allowed/"',
    "http://allowed/<>",
    "http://allowed/{}",
    "http://allowed/[x]",
    "http://allowed/|",
    "http://allowed/^",
    "http://allowed/`",
    # Homographs, and characters that fold into ASCII.
    "http://аllowed/",
    "http://\u24d0llowed/",
    "http://\uff41llowed/",
    "http://allowed\u3002evil/",
    "http://allowed\uff0fevil/",
    "http://allowed\u2044evil/",
    "http://allowed\uff20evil/",
    "http://\u212a.example/",
    "http://allowed\u00ad/",
    "http://allowed\u200b/",
    "http\u017f://allowed/",
    "http://allowed/\u00e9",
    "http://allowed:\u0668\u0660/",
    "http://allowed:\uff18\uff10/",
    "http://" + "a" * 300 + "/",
    "http://allowed/" + "a" * MAX_URL_LENGTH,
]


@pytest.mark.parametrize("url", ACCEPTED)
def test_an_allowed_url_is_taken_apart(url: str) -> None:
    assert ALLOWED.check(url) == ACCEPTED[url]


@pytest.mark.parametrize("url", REFUSED)
def test_a_url_that_is_not_allowed_is_refused(url: str) -> None:
    with pytest.raises(CallbackNotAllowedError) as refused:
        ALLOWED.check(url)
    assert refused.value.code == "callback_not_allowed"
    assert refused.value.http_status == 422
    assert refused.value.detail


def test_an_empty_list_refuses_everything() -> None:
    for text in ("", " ", ","):
        for url in ACCEPTED:
            with pytest.raises(CallbackNotAllowedError, match="No host"):
                AllowedHosts.parse(text).check(url)


URL_PARTS = st.sampled_from(
    [*"hptsa:/@#?\\.[]%0 \n\t", "http", "https", "://", "allowed", "evil", "allowed:80", "10.1.2.3"]
)


@given(st.lists(URL_PARTS, max_size=9), st.booleans())
def test_other_parsers_agree_about_whom_an_accepted_url_calls(
    parts: list[str], with_scheme: bool
) -> None:
    url = ("http://" if with_scheme else "") + "".join(parts)
    try:
        found = ALLOWED.check(url)
    except CallbackNotAllowedError:
        return
    assert found.host in ("allowed", "10.1.2.3")
    assert urlsplit(url).hostname == found.host
    assert httpx.URL(url).host == found.host
    assert (urlsplit(url).port or 80) == found.port or found.scheme == "https"


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


SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"test": 2432232314}'
VECTOR = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
"""The example of the scheme's own libraries."""


def test_a_signature_is_that_of_the_published_vector() -> None:
    signed = sign(key_of(SECRET), VECTOR["webhook-id"], 1614265330, BODY)
    assert signed == VECTOR
    assert verify(key_of(SECRET), VECTOR, BODY, now=1614265330)


def test_a_signature_is_what_hmac_gives_by_hand() -> None:
    key = bytes(range(32))
    digest = hmac.new(key, b"id-1.1700000000.{}", hashlib.sha256).digest()
    headers = sign(key, "id-1", 1_700_000_000, b"{}")
    assert headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()


@pytest.mark.parametrize("seconds", [-300, 0, 300])
def test_a_timestamp_within_the_tolerance_is_taken(seconds: int) -> None:
    assert verify(key_of(SECRET), VECTOR, BODY, now=1614265330 + seconds)


def test_one_of_several_signatures_is_enough() -> None:
    several = {**VECTOR, "webhook-signature": f"v1,AAAA {VECTOR['webhook-signature']} v2,x"}
    assert verify(key_of(SECRET), several, BODY, now=1614265330)


@pytest.mark.parametrize(
    ("changes", "body", "seconds"),
    [
        ({}, BODY + b" ", 0),
        ({}, b"", 0),
        ({}, BODY, 301),
        ({}, BODY, -301),
        ({"webhook-id": "msg_other"}, BODY, 0),
        ({"webhook-timestamp": "1614265331"}, BODY, 0),
        ({"webhook-timestamp": "now"}, BODY, 0),
        ({"webhook-timestamp": ""}, BODY, 0),
        ({"webhook-timestamp": "١"}, BODY, 0),
        ({"webhook-signature": ""}, BODY, 0),
        ({"webhook-signature": "v1,"}, BODY, 0),
        ({"webhook-signature": "v1,é"}, BODY, 0),
        ({"webhook-signature": VECTOR["webhook-signature"].replace("v1", "v2")}, BODY, 0),
        ({"webhook-signature": VECTOR["webhook-signature"][3:]}, BODY, 0),
    ],
)
def test_what_was_changed_is_not_verified(changes: dict, body: bytes, seconds: int) -> None:
    assert not verify(key_of(SECRET), VECTOR | changes, body, now=1614265330 + seconds)


def test_nothing_is_verified_with_another_key_or_without_headers() -> None:
    assert not verify(key_of(new_secret()), VECTOR, BODY, now=1614265330)
    assert not verify(key_of(SECRET), {}, BODY, now=1614265330)


def row(event: str) -> WebhookRow:
    at = dt.datetime(2026, 3, 1, 12, 0, 0, 5, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    return WebhookRow(
        id=uuid.UUID(int=1), job_id=uuid.UUID(int=2), event=event, url="", created_at=at
    )


def test_an_event_tells_ids_the_state_and_links() -> None:
    job = "/v1/jobs/00000000-0000-0000-0000-000000000002"
    assert json.loads(payload(row("job.succeeded"), None)) == {
        "type": "job.succeeded",
        "timestamp": "2026-03-01T10:00:00.000005Z",
        "data": {
            "job_id": "00000000-0000-0000-0000-000000000002",
            "status": "succeeded",
            "links": {"self": job, "result": f"{job}/result"},
            "error": None,
        },
    }
    failed = json.loads(payload(row("job.failed"), "corrupt_image"))
    assert failed["data"]["error"] == {"code": "corrupt_image"}
    assert failed["data"]["links"]["result"] is None
    assert payload(row("job.dead"), "expired") == payload(row("job.dead"), "expired")


def test_the_example_of_the_documentation_verifies_what_is_sent() -> None:
    text = (PROJECT_ROOT / "docs" / "integration.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict = {}
    exec(example, names)
    headers = sign(key_of(SECRET), "id-1", int(time.time()), BODY)
    assert names["is_genuine"](SECRET, headers, BODY)
    assert not names["is_genuine"](new_secret(), headers, BODY)
    assert not names["is_genuine"](SECRET, headers, BODY + b" ")
    assert not names["is_genuine"](SECRET, VECTOR, BODY), "it is too old"
