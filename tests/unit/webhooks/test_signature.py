"""How a webhook is signed and checked."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time

import pytest

from shared.settings import PROJECT_ROOT
from shared.webhooks.signature import key_of, new_secret, sign, verify

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
