"""Whose webhooks are signed with what: each tenant's receivers know a secret of their own."""

from __future__ import annotations

import base64
import hashlib
import hmac

from shared.auth.tenants import DEFAULT_TENANT
from shared.webhooks.signature import PREFIX, key_of

_PURPOSE = b"hemotriage webhooks of tenant "
_ONLY_BLOCK = b"\x01"


def secret_of(secret: str, tenant: str) -> str:
    """The secret that a tenant's webhooks are signed with, as its receivers get it.

    Of `default` it is the service's. Another tenant's is derived from that by HKDF-Expand with
    SHA-256 and one block (RFC 5869, section 2.3): who has it learns neither the service's nor
    another tenant's.

    Args:
        secret: The service's, `whsec_` and base64.
        tenant: A tenant's name.

    Raises:
        ValueError: The secret is not well-formed.
    """
    key = key_of(secret)
    if tenant == DEFAULT_TENANT:
        return secret
    derived = hmac.new(key, _PURPOSE + tenant.encode() + _ONLY_BLOCK, hashlib.sha256).digest()
    return PREFIX + base64.b64encode(derived).decode()
