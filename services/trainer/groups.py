"""Groups of images that show the same area, found by their pixels and kept by their content.

The search takes a minute for a few thousand images, so what it found is kept in a file that is
named by the content of all images: the same images are searched once, whatever they are called.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from services.trainer.overlap import DETECTOR, connect, find_overlaps
from services.trainer.waiting import with_bar
from shared.errors import ImageError
from shared.imaging import Pixels
from shared.imaging.decode import load_resized
from shared.settings import DEFAULT_MAX_PIXELS

OVERLAPS = Path("var/datasets/overlaps")
"""Where found overlaps are kept, unless told otherwise."""


@dataclass(frozen=True, order=True)
class ContentOverlap:
    """Two images, named by their SHA-256, that show the same area.

    `share` is the part of an image that both show, `correlation` that of their grey values there.
    """

    first: str
    second: str
    share: float
    correlation: float


def detect_overlaps(
    files: Mapping[str, Path], *, cache: Path = OVERLAPS
) -> tuple[ContentOverlap, ...]:
    """Find the images that overlap; what was found before is read from the cache.

    Args:
        files: A file for each SHA-256. A file that is no usable image overlaps nothing.
        cache: Folder of what was found before.
    """
    hashes = sorted(files)
    key = hashlib.sha256("\n".join([f"detector {DETECTOR}", *hashes]).encode()).hexdigest()
    kept = cache / f"{key}.json"
    if kept.is_file():
        return tuple(ContentOverlap(**row) for row in json.loads(kept.read_text()))
    found = _search(files, hashes)
    write_whole(kept, json.dumps([asdict(overlap) for overlap in found]))
    return found


def name_groups(hashes: Sequence[str], overlaps: Iterable[ContentOverlap]) -> dict[str, str]:
    """Name the group of each image by the smallest SHA-256 in it.

    Args:
        hashes: SHA-256 of each image, in any order.
        overlaps: What was found among these images.
    """
    ordered = sorted(set(hashes))
    position = {sha256: place for place, sha256 in enumerate(ordered)}
    links = [(position[overlap.first], position[overlap.second]) for overlap in overlaps]
    names: dict[int, str] = {}
    return {
        sha256: names.setdefault(number, sha256)
        for sha256, number in zip(ordered, connect(len(ordered), links), strict=True)
    }


def write_whole(path: Path, text: str) -> None:
    """Write a file at once: no reader ever sees a part of it, though several processes write it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}.draft")
    draft.write_text(text)
    draft.replace(path)


def _search(files: Mapping[str, Path], hashes: list[str]) -> tuple[ContentOverlap, ...]:
    usable: list[str] = []

    def images() -> Iterator[Pixels]:
        for sha256 in with_bar(hashes, "Reading images"):
            try:
                image = load_resized(files[sha256], max_pixels=DEFAULT_MAX_PIXELS)
            except ImageError:
                continue
            usable.append(sha256)
            yield image

    return tuple(
        ContentOverlap(
            usable[overlap.first],
            usable[overlap.second],
            round(overlap.share, 3),
            round(overlap.correlation, 3),
        )
        for overlap in find_overlaps(images())
    )
