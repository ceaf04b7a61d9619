"""Imports a folder of labelled images as an immutable data set version.

A version's file names images by their content alone, so the same images give the same file
whatever they are called, and a file that is there is never written again.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from services.trainer.dataset import Dataset, Sample, labelled_files
from services.trainer.groups import (
    OVERLAPS,
    ContentOverlap,
    detect_overlaps,
    name_groups,
    write_whole,
)
from services.trainer.leaks import OtherSet, find_leaks
from services.trainer.overlap import DETECTOR
from services.trainer.waiting import with_bar
from shared.errors import DatasetError, ImageError, NotFoundError
from shared.imaging.decode import check_image
from shared.settings import DEFAULT_MAX_PIXELS
from shared.triage.labels import LABELS

VERSIONS = OVERLAPS.parent
"""Where versions are kept, unless told otherwise."""

_TYPE_OF_SUFFIX = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".bmp": "image/bmp",
    ".webp": "image/webp",
}


class FaultCode(StrEnum):
    """What can be wrong with a usable image; an unusable one has the code of its `ImageError`."""

    MISLABELLED_TYPE = "mislabelled_type"
    """The content is of another type than the name says; the image is kept."""
    LABEL_CONFLICT = "label_conflict"
    """The same image is in several classes, so that its label is unknown; it is left out."""
    OVERLAP_ACROSS_CLASSES = "overlap_across_classes"
    """An image of another class shows the same area; both are kept, one label may be wrong."""
    LEAKS_INTO_LOCKED_TEST = "leaks_into_locked_test"
    """A locked test set shows the same, directly or by a chain of overlaps; it is left out."""


@dataclass(frozen=True, order=True)
class Fault:
    """What is wrong with one file, named as CLASS/NAME; `left_out`: the version lacks it."""

    file: str
    sha256: str
    code: str
    detail: str
    left_out: bool


@dataclass(frozen=True)
class ImportReport:
    """What an import made and met.

    `record` is the content of the version's file, `duplicates` are names of files with the same
    content, `overlaps` pairs of names with the part of the area that both show. `leaks` has the
    names of the other data sets that show an image too.
    """

    path: Path
    record: dict[str, Any]
    faults: tuple[Fault, ...]
    duplicates: tuple[tuple[str, ...], ...]
    overlaps: tuple[tuple[str, str, float], ...]
    leaks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """The data set version."""
        return str(self.record["version"])


def import_dataset(
    root: Path,
    out: Path = VERSIONS,
    *,
    others: Sequence[OtherSet] = (),
    keep_leaks: bool = False,
) -> ImportReport:
    """Read a folder that holds one folder a class, and write its version.

    Files that are no usable images are reported and left out. Copies of an image are kept, in one
    group; where they are in several classes, all of them are left out.

    Args:
        root: The folder.
        out: Folder of the versions; OUT/VERSION.json is written unless it is there. Its folder
            `overlaps` keeps what was found among the pixels.
        others: Data sets that must not show the same.
        keep_leaks: Keep what they show, and tell it; otherwise it is left out.

    Raises:
        DatasetError: A class folder is missing, or no image of a class is usable.
    """
    readable, facts, faults = _read(root)
    samples, conflicts = _without_conflicts(readable)
    _refuse_without_a_class(samples, "that can be used")
    paths = {sample.sha256: sample.path for sample in samples}
    elsewhere = {sha256: path for other in others for sha256, path in other.files.items()}
    found = detect_overlaps({**elsewhere, **paths}, cache=out / OVERLAPS.name)
    leaks = find_leaks(paths, others, found)
    leaking: list[Fault] = []
    if not keep_leaks:
        samples, leaking = _without_leaks(samples, leaks)
        _refuse_without_a_class(samples, "beside those of locked test sets")
    kept = {sample.sha256 for sample in samples}
    overlaps = [pair for pair in found if {pair.first, pair.second} <= kept]
    groups = name_groups(list(kept), overlaps)
    dataset = Dataset(root, tuple(replace(s, group=groups[s.sha256]) for s in samples))
    faults = sorted([*faults, *conflicts, *leaking, *_across_classes(samples, overlaps)])
    record = _record(dataset, facts, overlaps, faults)
    path = out / f"{dataset.version}.json"
    if not path.exists():
        write_whole(path, json.dumps(record, indent=1) + "\n")
    names = {sample.sha256: _name(sample.path) for sample in samples}
    return ImportReport(
        path=path,
        record=record,
        faults=tuple(faults),
        duplicates=_copies(samples),
        overlaps=tuple((names[o.first], names[o.second], o.share) for o in overlaps),
        leaks=leaks,
    )


def read_versions(folder: Path = VERSIONS) -> list[dict[str, Any]]:
    """The records of all versions in a folder, in the order of their names."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def read_version(name: str, folder: Path = VERSIONS) -> dict[str, Any]:
    """The record of one version.

    Args:
        name: The version, or as many of its first characters as tell it from the others.
        folder: Where versions are kept.

    Raises:
        NotFoundError: No version starts so, or several do.
    """
    found = [record for record in read_versions(folder) if record["version"].startswith(name)]
    if len(found) != 1:
        raise NotFoundError(f"{len(found)} data set versions in {folder} start with {name!r}.")
    return found[0]


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _read(root: Path) -> tuple[list[Sample], dict[str, dict[str, Any]], list[Fault]]:
    """Usable images, each alone in its group; size and type by content; what is wrong."""
    samples, facts, faults = [], {}, []
    for label, path in with_bar(labelled_files(root), "Checking files"):
        content = path.read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        try:
            found = check_image(io.BytesIO(content), max_pixels=DEFAULT_MAX_PIXELS)
        except ImageError as error:
            faults.append(Fault(_name(path), sha256, error.code, str(error), left_out=True))
            continue
        if _TYPE_OF_SUFFIX.get(path.suffix.lower()) != found.media_type:
            detail = f"The content is {found.media_type}."
            code = FaultCode.MISLABELLED_TYPE
            faults.append(Fault(_name(path), sha256, code, detail, left_out=False))
        samples.append(Sample(path=path, label=label, sha256=sha256, group=sha256))
        facts[sha256] = {
            "bytes": len(content),
            "media_type": found.media_type,
            "width": found.width,
            "height": found.height,
        }
    return samples, facts, faults


def _by_content(samples: Iterable[Sample]) -> dict[str, list[Sample]]:
    copies: dict[str, list[Sample]] = {}
    for sample in samples:
        copies.setdefault(sample.sha256, []).append(sample)
    return copies


def _refuse_without_a_class(samples: Iterable[Sample], which: str) -> None:
    missing = set(LABELS) - {sample.label for sample in samples}
    if missing:
        raise DatasetError(f"There is no image {which} of {', '.join(sorted(missing))}.")


def _copies(samples: Iterable[Sample]) -> tuple[tuple[str, ...], ...]:
    """The names of files with the same content."""
    return tuple(
        tuple(_name(copy.path) for copy in copies)
        for copies in _by_content(samples).values()
        if len(copies) > 1
    )


def _without_conflicts(samples: list[Sample]) -> tuple[list[Sample], list[Fault]]:
    """The images with one label, and a fault for each file of an image with several."""
    kept, faults = [], []
    for sha256, copies in _by_content(samples).items():
        if len({copy.label for copy in copies}) == 1:
            kept.extend(copies)
            continue
        for copy in copies:
            others = ", ".join(_name(other.path) for other in copies if other is not copy)
            detail = f"The same image is {others}."
            code = FaultCode.LABEL_CONFLICT
            faults.append(Fault(_name(copy.path), sha256, code, detail, left_out=True))
    return kept, faults


def _without_leaks(
    samples: Iterable[Sample], leaks: Mapping[str, tuple[str, ...]]
) -> tuple[list[Sample], list[Fault]]:
    """The images that no locked test set shows, and a fault for each of the others."""
    kept, faults = [], []
    for sample in samples:
        if sample.sha256 not in leaks:
            kept.append(sample)
            continue
        detail = f"Also shown by {', '.join(leaks[sample.sha256])}."
        code = FaultCode.LEAKS_INTO_LOCKED_TEST
        faults.append(Fault(_name(sample.path), sample.sha256, code, detail, left_out=True))
    return kept, faults


def _across_classes(samples: list[Sample], overlaps: Iterable[ContentOverlap]) -> list[Fault]:
    """A fault for either image of each overlap between two classes."""
    of = {sample.sha256: sample for sample in samples}
    faults = []
    for overlap in overlaps:
        first, second = of[overlap.first], of[overlap.second]
        if first.label is second.label:
            continue
        for sample, other in ((first, second), (second, first)):
            detail = f"{overlap.share:.0%} of it is also in {_name(other.path)}."
            code = FaultCode.OVERLAP_ACROSS_CLASSES
            faults.append(Fault(_name(sample.path), sample.sha256, code, detail, left_out=False))
    return faults


def _record(
    dataset: Dataset,
    facts: dict[str, dict[str, Any]],
    overlaps: Iterable[ContentOverlap],
    faults: Iterable[Fault],
) -> dict[str, Any]:
    """The content of a version's file: nothing in it depends on names or their order."""
    images = [
        {"label": str(s.label), "sha256": s.sha256, "group": s.group, **facts[s.sha256]}
        for s in dataset.samples
    ]
    left_out = [
        {"label": fault.file.split("/")[0], "sha256": fault.sha256, "code": str(fault.code)}
        for fault in faults
        if fault.left_out
    ]
    return {
        "version": dataset.version,
        "detector": DETECTOR,
        "counts": dataset.counts(),
        "groups": len({sample.group for sample in dataset.samples}),
        "images": sorted(images, key=lambda row: (row["label"], row["sha256"])),
        "overlaps": [asdict(overlap) for overlap in overlaps],
        "left_out": sorted(left_out, key=lambda row: (row["label"], row["sha256"])),
    }
