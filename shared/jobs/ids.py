"""Ids of jobs: UUIDs that begin with their time (version 7 of RFC 9562, section 5.7).

Jobs and the keys of their objects so sort by age, and a look at the newest ones touches no others.
"""

from __future__ import annotations

import datetime as dt
import secrets
import uuid

from shared.clock import utc_now

_RANDOM_BITS = 74
_VERSION_AND_VARIANT = (7 << 76) | (2 << 62)


def new_job_id() -> uuid.UUID:
    """Make an id: 48 bits of milliseconds since 1970, then 74 random bits."""
    return _assemble(utc_now(), secrets.randbits(_RANDOM_BITS))


def first_job_id(at: dt.datetime) -> uuid.UUID:
    """The smallest id that a job made at this moment can have; for comparisons."""
    return _assemble(at, 0)


def _assemble(at: dt.datetime, random: int) -> uuid.UUID:
    milliseconds = int(at.timestamp() * 1000)
    high, low = random >> 62, random & ((1 << 62) - 1)
    return uuid.UUID(int=(milliseconds << 80) | (high << 64) | low | _VERSION_AND_VARIANT)
