"""What each language has to say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Texts:
    """The sentences of one language."""

    display: Mapping[str, str]
    """By `Label`."""
    reasons: Mapping[str, str]
    """By `Reason`."""
    policy: Mapping[str, str]
    """The actions and timelines of every version of the policy, by their English."""
    one_field: str
    """With its number `n`, from 1."""
    named_fields: str
    """Two or a few by their numbers: all but the last one are `first`."""
    counted_fields: str
    """So many `n` of `all`."""
    all_fields: str
    disclaimer: str
    limits: str
