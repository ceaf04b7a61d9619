"""Which URLs may be called back.

A client names the URL, and this service calls it from inside the hospital's network: without a
list of allowed hosts a client could reach through it what it cannot reach itself (server-side
request forgery). A URL is taken apart once, here, and these parts are what is called.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from shared.errors import PermanentError

MAX_URL_LENGTH = 2048

_DEFAULT_PORTS = {"http": 80, "https": 443}
AUTHORITY = r"(?P<host>[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?"
# Path and query of RFC 3986. Narrower than what other parsers take: userinfo, fragments, spaces,
# backslashes, control characters and everything beyond ASCII are left out.
_TARGET = r"(?P<target>(?:[/?](?:[a-z0-9._~!$&'()*+,;=:@/?-]|%[0-9a-f]{2})*)?)"
# ASCII: otherwise letters such as the Kelvin sign count as a K.
FLAGS = re.IGNORECASE | re.ASCII
_ENTRY = re.compile(AUTHORITY, FLAGS)
_URL = re.compile(rf"(?P<scheme>https?)://{AUTHORITY}{_TARGET}", FLAGS)
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)


class CallbackNotAllowedError(PermanentError):
    """The `callback_url` is none that this service may call; poll the job instead."""

    code = "callback_not_allowed"


@dataclass(frozen=True)
class Callback:
    """The parts of an allowed URL; `host` is in lower case, `target` is the path and the query."""

    scheme: str
    host: str
    port: int
    target: str


@dataclass(frozen=True)
class AllowedHosts:
    """The hosts that may be called, each with its port, or with None for any port."""

    entries: frozenset[tuple[str, int | None]]

    @classmethod
    def parse(cls, text: str) -> AllowedHosts:
        """Read a list such as `lis.example.org, 10.1.2.3:8443, [fd00::1]`; it may be empty.

        Raises:
            ValueError: An entry is neither `NAME` nor `NAME:PORT`.
        """
        entries = (entry.strip() for entry in text.split(",") if entry.strip())
        return cls(frozenset(_parse_entry(entry) for entry in entries))

    def check(self, url: str) -> Callback:
        """Take a URL apart, if it may be called.

        Raises:
            CallbackNotAllowedError: It is no plain http or https URL, or its host is not allowed.
        """
        if not self.entries:
            raise CallbackNotAllowedError("No host may be called back here.")
        if len(url) > MAX_URL_LENGTH:
            raise CallbackNotAllowedError(f"It has more than {MAX_URL_LENGTH} characters.")
        found = _URL.fullmatch(url)
        place = place_of(found) if found else None
        if found is None or place is None:
            raise CallbackNotAllowedError(
                "It must be an absolute http or https URL in ASCII, without user or fragment."
            )
        host, given_port = place
        scheme = found["scheme"].lower()
        port = given_port or _DEFAULT_PORTS[scheme]
        if not {(host, None), (host, port)} & self.entries:
            raise CallbackNotAllowedError("Its host, or its port, is not on the operator's list.")
        target = found["target"]
        return Callback(scheme, host, port, target if target.startswith("/") else f"/{target}")


def _parse_entry(entry: str) -> tuple[str, int | None]:
    found = _ENTRY.fullmatch(entry)
    place = place_of(found) if found else None
    if place is None:
        raise ValueError(f"expected NAME or NAME:PORT, received {entry!r}")
    return place


def place_of(found: re.Match[str]) -> tuple[str, int | None] | None:
    """The host in its one form and the port, if one is given; None where either is none."""
    host = _normal_host(found["host"])
    port = None if found["port"] is None else int(found["port"])
    if host is None or (port is not None and not 0 < port < 2**16):
        return None
    return host, port


def _normal_host(text: str) -> str | None:
    """A host in its one form: in lower case, an IPv6 address shortened; None where it is none.

    A name whose last label is a number is an IPv4 address to resolvers: only its usual form counts.
    """
    host = text.lower()
    try:
        if host.startswith("["):
            return ipaddress.IPv6Address(host[1:-1]).compressed
        if _NUMBER.fullmatch(host.rsplit(".", 1)[-1]):
            return str(ipaddress.IPv4Address(host))
    except ValueError:
        return None
    return host if len(host) <= 253 and _NAME.fullmatch(host) else None
