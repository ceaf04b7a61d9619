"""How the audit trail hangs together: the hash of each event has the hash before it in it.

Whoever changes, removes or moves an event changes every hash from there on, as in Haber and
Stornetta, "How to time-stamp a digital document", J. Cryptology 3 (1991). Events get their places
after their transactions have committed (`seal.py`), not while they are written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row

GENESIS = bytes(32)
"""What stands for the hash before the first event."""

FIELDS = ("id", "at", "actor", "action", "job_id", "details")
"""The columns of an event that are hashed, in this order; one without a value is left out.

So a column that a later migration adds, null in the rows that are there, changes no hash.
"""

SEALING_LOCK = int.from_bytes(b"audit\0\0\0") >> 1
"""The advisory lock of whoever changes the chain; any number of 63 bits."""

# The server's own text of each value: one text for one value, whatever a session has set, and also
# for values that Python has none for, such as a year before Christ.
EVENT_TEXT = """
    CAST(event.id AS text) AS id,
    (to_jsonb(event.at AT TIME ZONE 'UTC') #>> '{}') || 'Z' AS at,
    event.actor,
    event.action,
    CAST(event.job_id AS text) AS job_id,
    CAST(event.details AS text) AS details
"""

_FORMAT = b"hemotriage-audit-1"


@dataclass(frozen=True, slots=True)
class Link:
    """An event in its place.

    Attributes:
        position: Its place, from 1 on without gaps.
        event_id: The id of its row.
        hash: The hash of the chain up to here, 32 bytes.
        event: The texts of `FIELDS`; None where there is no such row any more.
    """

    position: int
    event_id: int
    hash: bytes
    event: Mapping[str, str | None] | None


def event_of(row: Row[Any]) -> dict[str, str | None]:
    """The texts of an event, of a row that `EVENT_TEXT` was selected for."""
    found = row._mapping
    return {name: found[name] for name in FIELDS}


def link_hash(previous: bytes, position: int, event: Mapping[str, str | None]) -> bytes:
    """The hash of the chain up to an event: SHA-256, 32 bytes.

    Of the format's name, the hash before, the position (8 bytes, big-endian), and the name and the
    text in UTF-8 of each field that has a value, both behind their lengths (4 bytes, big-endian).
    """
    parts = [_FORMAT, previous, position.to_bytes(8, "big", signed=True)]
    for name in FIELDS:
        value = event.get(name)
        if value is not None:
            for text in (name, value):
                encoded = text.encode("utf-8", "surrogatepass")
                parts += [len(encoded).to_bytes(4, "big"), encoded]
    return hashlib.sha256(b"".join(parts)).digest()
