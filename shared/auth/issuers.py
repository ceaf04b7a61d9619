"""Whose tokens are taken, and what they allow here: the settings' text, read and checked."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from shared.auth.scopes import Scope

SCOPE_PREFIX = "hemotriage."
"""`hemotriage.submit` in a token is the scope `submit`."""


@dataclass(frozen=True)
class Issuer:
    """An OpenID provider, and the audience that its tokens for this service name."""

    url: str
    audience: str


def parse_issuers(text: str) -> tuple[Issuer, ...]:
    """Read a list such as `https://idp.example/realms/lab=hemotriage`; it may be empty.

    Raises:
        ValueError: An entry is not `URL=AUDIENCE`, its URL is not https (http on this machine
            itself), or an issuer is there twice.
    """
    entries = (entry.strip() for entry in text.split(",") if entry.strip())
    issuers = tuple(_parse_issuer(entry) for entry in entries)
    if len({issuer.url for issuer in issuers}) < len(issuers):
        raise ValueError("expected each issuer once")
    return issuers


def parse_scope_map(text: str) -> dict[str, frozenset[Scope]]:
    """Read a list such as `lab-head=admin, lab-head=review, reader=read`; it may be empty.

    Raises:
        ValueError: An entry is not `VALUE=SCOPE` with a scope of this service.
    """
    mapped: dict[str, frozenset[Scope]] = {}
    for entry in filter(None, (entry.strip() for entry in text.split(","))):
        value, _, scope = entry.rpartition("=")
        if not value:
            raise ValueError(f"expected VALUE=SCOPE, received {entry!r}")
        mapped[value] = mapped.get(value, frozenset()) | {Scope(scope)}
    return mapped


def is_safe(url: str) -> bool:
    """Whether nobody between can change what is fetched: https, or http on this machine itself.

    OpenID Connect Discovery 1.0, section 4: discovery is over TLS.
    """
    parts = urlsplit(url)
    if parts.scheme == "http":
        return is_loopback(parts.hostname or "")
    return parts.scheme == "https" and bool(parts.hostname)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def granted_scopes(
    claims: Mapping[str, object], claim: str, scope_map: Mapping[str, frozenset[Scope]]
) -> frozenset[Scope]:
    """What a token allows here.

    Args:
        claims: The claims of the token.
        claim: Name of the one that tells; with dots, as in `realm_access.roles`, one within
            another. Its value is a list, or text with spaces between (RFC 8693, section 4.2).
        scope_map: The scopes of other values than `hemotriage.SCOPE`.
    """
    value = claimed(claims, claim)
    values = value.split() if isinstance(value, str) else value
    named = {each for each in values if isinstance(each, str)} if isinstance(values, list) else ()
    granted = {scope for scope in Scope if SCOPE_PREFIX + scope in named}
    return frozenset(granted).union(*(scope_map.get(each, frozenset()) for each in named))


def claimed(claims: Mapping[str, object], name: str) -> object:
    """The value of a claim, or of one within another, as in `realm_access.roles`; None: none."""
    # Names of claims may be URLs, with dots of their own.
    if name in claims:
        return claims[name]
    found: object = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _parse_issuer(entry: str) -> Issuer:
    url, _, audience = entry.partition("=")
    parts = urlsplit(url)
    if not audience or not is_safe(url) or parts.query or parts.fragment or parts.username:
        raise ValueError(f"expected https://ISSUER=AUDIENCE, received {entry!r}")
    return Issuer(url, audience)
