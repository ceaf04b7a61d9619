"""Signatures of webhooks, by Standard Webhooks (https://www.standardwebhooks.com).

HMAC-SHA256 over `{id}.{timestamp}.{body}`, with a key that both sides know as `whsec_` and base64.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Mapping

PREFIX = "whsec_"
TOLERANCE_SECONDS = 300
"""How far a timestamp may be from the receiver's clock: an older one may be a replay."""

_KEY_BYTES = range(24, 65)
_NEW_KEY_BYTES = 32
_VERSION = "v1"
_ID, _TIMESTAMP, _SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"


def new_secret() -> str:
    """A fresh secret."""
    return PREFIX + base64.b64encode(secrets.token_bytes(_NEW_KEY_BYTES)).decode()


def key_of(secret: str) -> bytes:
    """The key that a secret stands for.

    Raises:
        ValueError: It is not `whsec_` and base64 of 24 to 64 bytes.
    """
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(PREFIX) or len(key) not in _KEY_BYTES:
        raise ValueError(f"expected {PREFIX} and base64 of 24 to 64 bytes")
    return key


def sign(key: bytes, event_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Make the headers that sign a body.

    Args:
        key: What `key_of` gives.
        event_id: The same for all attempts of one event.
        timestamp: The moment of this attempt, in seconds since the epoch.
        body: The bytes as they are sent.
    """
    signature = f"{_VERSION},{_signature(key, event_id, str(timestamp), body)}"
    return {_ID: event_id, _TIMESTAMP: str(timestamp), _SIGNATURE: signature}


def verify(
    key: bytes,
    headers: Mapping[str, str],
    body: bytes,
    *,
    now: float,
    tolerance_seconds: float = TOLERANCE_SECONDS,
) -> bool:
    """Whether a webhook is from who has the key, and not older than the tolerance.

    Args:
        key: What `key_of` gives.
        headers: Those of the request, with names in lower case.
        body: The bytes as they came.
        now: The receiver's time, in seconds since the epoch.
        tolerance_seconds: How far the timestamp may be from `now`.
    """
    event_id, timestamp = headers.get(_ID, ""), headers.get(_TIMESTAMP, "")
    if not (timestamp.isascii() and timestamp.isdigit()):
        return False
    if abs(now - int(timestamp)) > tolerance_seconds:
        return False
    expected = f"{_VERSION},{_signature(key, event_id, timestamp, body)}".encode()
    # More than one is sent by who changes keys.
    given = headers.get(_SIGNATURE, "").split(" ")
    return any(hmac.compare_digest(expected, one.encode()) for one in given)


def _signature(key: bytes, event_id: str, timestamp: str, body: bytes) -> str:
    signed = f"{event_id}.{timestamp}.".encode() + body
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
