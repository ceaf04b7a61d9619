"""Where an operator has results sent: to a LIS by MLLP, to an archive by STOW-RS or C-STORE.

Clients never name these; what they name is checked in `shared.webhooks.hosts`, which takes none of
these schemes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from shared.webhooks.hosts import AUTHORITY, FLAGS, MAX_URL_LENGTH, place_of

_PORTS = {"stow+http": 80, "stow+https": 443}
# An application entity's title has at most 16 characters (DICOM PS3.5 section 6.2, AE). Spaces and
# punctuation, which it may have too, would need an escape in a URL.
_CALLED_AE = r"(?:(?P<called_ae>[a-z0-9_.-]{1,16})@)?"
_PATH = r"(?P<path>(?:/[a-z0-9._~-]+)*)/?"
_URL = re.compile(rf"(?P<scheme>mllps?|stow\+https?|dicom)://{_CALLED_AE}{AUTHORITY}{_PATH}", FLAGS)


class Kind(StrEnum):
    """By what protocol, and so in what form, a result is sent."""

    MLLP = "mllp"
    STOW = "stow"
    DICOM = "dicom"


@dataclass(frozen=True)
class Destination:
    """One destination, by its parts.

    Attributes:
        url: As the operator wrote it.
        kind: The protocol.
        is_secure: Whether it is spoken over TLS.
        host: In lower case.
        port: The port.
        path: Of STOW-RS, what comes before `/studies`; else empty.
        called_ae: Of C-STORE, the title of the archive's application entity; else empty.
    """

    url: str
    kind: Kind
    is_secure: bool
    host: str
    port: int
    path: str = ""
    called_ae: str = ""


def parse_destinations(text: str) -> dict[str, Destination]:
    """Read a list such as `mllps://lis:2576, stow+https://pacs/dicom-web, dicom://PACS@pacs:104`.

    Returns:
        Each by its URL, in the order of the list, which may be empty.

    Raises:
        ValueError: An entry is none of these, or is there twice.
    """
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    found = {entry: _parse(entry) for entry in entries}
    if len(found) < len(entries):
        raise ValueError("a destination is there twice")
    return found


def is_push(url: str) -> bool:
    """Whether a URL is one of a destination, and none of a client."""
    return not url.lower().startswith(("http:", "https:"))


def _parse(entry: str) -> Destination:
    found = _URL.fullmatch(entry) if len(entry) <= MAX_URL_LENGTH else None
    place = place_of(found) if found else None
    if found is None or place is None:
        raise _malformed(entry)
    scheme = found["scheme"].lower()
    kind = Kind(scheme.split("+")[0].removesuffix("s"))
    host, given_port = place
    port = given_port or _PORTS.get(scheme)
    if (
        port is None
        or (found["called_ae"] is None) == (kind is Kind.DICOM)
        or (found["path"] and kind is not Kind.STOW)
    ):
        raise _malformed(entry)
    return Destination(
        url=entry,
        kind=kind,
        is_secure=scheme in ("mllps", "stow+https"),
        host=host,
        port=port,
        path=found["path"],
        called_ae=found["called_ae"] or "",
    )


def _malformed(entry: str) -> ValueError:
    return ValueError(
        "expected mllp[s]://HOST:PORT, stow+http[s]://HOST/path or dicom://CALLED_AE@HOST:PORT, "
        f"received {entry!r}"
    )
