"""Finds images that show what another data set shows: a test on those would flatter a model."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.trainer.groups import ContentOverlap, name_groups


@dataclass(frozen=True)
class OtherSet:
    """A data set that an import is compared with: what it is called, and a file a SHA-256."""

    name: str
    files: Mapping[str, Path]


def find_leaks(
    hashes: Collection[str], others: Iterable[OtherSet], overlaps: Sequence[ContentOverlap]
) -> dict[str, tuple[str, ...]]:
    """Find the images that are in one group with an image of another data set.

    Groups and not pairs: what is linked by a chain of overlaps never crosses a split either.

    Args:
        hashes: SHA-256 of the images.
        others: The other data sets.
        overlaps: What was found among the images of all of them.

    Returns:
        For each image that leaks the names of the other sets, in their order.
    """
    others = list(others)
    groups = name_groups([*hashes, *(name for other in others for name in other.files)], overlaps)
    holders: dict[str, list[str]] = {}
    for other in others:
        for group in {groups[sha256] for sha256 in other.files}:
            holders.setdefault(group, []).append(other.name)
    return {
        sha256: tuple(holders[groups[sha256]])
        for sha256 in sorted(hashes)
        if groups[sha256] in holders
    }
