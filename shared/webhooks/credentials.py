"""What an operator has said to archives that ask who calls: a user and a password, or a token.

They stand in a setting of their own and never in a URL, since URLs are stored, listed and logged.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from urllib.parse import unquote

from shared.webhooks.destinations import Destination, Kind
from shared.webhooks.hosts import AUTHORITY, FLAGS, place_of

# RFC 7617, section 2: a user without a colon. RFC 6750, section 2.1: b64token.
_BASIC = r"basic:(?P<user>[!-9;-~]+):(?P<password>[!-~]+)"
_BEARER = r"bearer:(?P<token>[A-Za-z0-9._~+/-]+=*)"
_ENTRY = re.compile(rf"{AUTHORITY}=(?:{_BASIC}|{_BEARER})", FLAGS)
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True)
class Credential:
    """What one host is told; `port` is None for any. It is not shown by `repr`."""

    host: str
    port: int | None
    authorization: str = field(repr=False)

    def is_for(self, destination: Destination) -> bool:
        """Whether a destination is of this host and port, and speaks HTTP."""
        return (
            destination.kind is Kind.STOW
            and destination.host == self.host
            and self.port in (None, destination.port)
        )


def parse_credentials(text: str) -> tuple[Credential, ...]:
    """Read a list such as `pacs:8443=basic:USER:PASSWORD, archive=bearer:TOKEN`.

    Entries end at a comma or at the end of a line. In a user and in a password a comma, a percent
    sign and what is not printable ASCII are percent-encoded (RFC 3986, section 2.1).

    Returns:
        Those with a port first, since they are the nearer ones.

    Raises:
        ValueError: An entry is none of these, or a place has two. The message quotes none.
    """
    entries = [entry.strip() for entry in re.split(r"[,\n]", text) if entry.strip()]
    found = [_parse(entry) for entry in entries]
    if len({(one.host, one.port) for one in found}) < len(found):
        raise ValueError("a host and port has two credentials")
    return tuple(sorted(found, key=lambda one: one.port is None))


def check_credentials(
    credentials: Collection[Credential], destinations: Collection[Destination]
) -> None:
    """Refuse at the start what would be sent to nobody, or in the clear.

    Raises:
        ValueError: A credential is for no destination by STOW-RS, or for one without TLS that is
            not on this machine (RFC 7617, section 4; RFC 6750, section 5.3).
    """
    for credential in credentials:
        its_own = [one for one in destinations if credential.is_for(one)]
        if not its_own:
            raise ValueError(f"{credential.host} is no destination by STOW-RS")
        if not all(one.is_secure or _is_loopback(one.host) for one in its_own):
            raise ValueError(f"{credential.host} is called without TLS")


def authorization_for(destination: Destination, credentials: Collection[Credential]) -> str | None:
    """The `Authorization` of calls to a destination, of credentials in the order of the parser."""
    return next((one.authorization for one in credentials if one.is_for(destination)), None)


def _parse(entry: str) -> Credential:
    found = _ENTRY.fullmatch(entry)
    place = place_of(found) if found else None
    if found is None or place is None or _BAD_ESCAPE.search(entry):
        raise ValueError("expected HOST[:PORT]=basic:USER:PASSWORD or HOST[:PORT]=bearer:TOKEN")
    if found["token"]:
        return Credential(*place, f"Bearer {found['token']}")
    known_by = f"{unquote(found['user'])}:{unquote(found['password'])}".encode()
    return Credential(*place, f"Basic {base64.b64encode(known_by).decode()}")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
