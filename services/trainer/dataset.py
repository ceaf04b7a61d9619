"""Reads a folder of labelled smear images into a data set version.

A version is its content: each image is named by its SHA-256, and the version's own hash is made of
the labels and hashes of all of its images. Nothing about it depends on file names or their order.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from services.trainer.groups import OVERLAPS, detect_overlaps, name_groups
from services.trainer.overlap import connect
from services.trainer.waiting import with_bar
from shared.errors import DatasetError, ImageError
from shared.imaging import Pixels
from shared.imaging.decode import load_model_input, load_resized
from shared.settings import DEFAULT_MAX_PIXELS
from shared.triage.labels import LABELS, Label

MANIFEST = "manifest.csv"

_OF_FILE_MANAGERS = {"Thumbs.db", "desktop.ini"}

Grouping = Literal["auto", "manifest", "detected", "none"]
"""Where the groups of overlapping fields come from."""


@dataclass(frozen=True)
class Sample:
    """One labelled image.

    `group` names its field of view: images of one group overlap, and never cross a split.
    """

    path: Path
    label: Label
    sha256: str
    group: str


@dataclass(frozen=True)
class Dataset:
    """An immutable set of labelled images.

    `source` says for a model's card where they come from: `name`, `paper`, `data`, `terms`.
    """

    root: Path
    samples: tuple[Sample, ...]
    source: Mapping[str, str] = field(default_factory=lambda: {"name": "not stated"})

    @property
    def version(self) -> str:
        """SHA-256 over the labels and content hashes of all images."""
        lines = sorted(f"{sample.label} {sample.sha256}" for sample in self.samples)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def counts(self) -> dict[str, int]:
        """Images a class."""
        return {
            str(label): sum(sample.label is label for sample in self.samples) for label in LABELS
        }


def read_dataset(root: Path, *, groups: Grouping = "auto", cache: Path = OVERLAPS) -> Dataset:
    """Read a folder that holds one folder a class.

    Args:
        root: The folder.
        groups: Where groups of overlapping fields come from. `manifest`: a `manifest.csv` (columns
            `file` and `group`) in the folder or beside it; an image that it does not name is in
            one group with its exact copies. `detected`: a search among the pixels. `auto`: the
            manifest, and the search unless it names every image. `none`: exact copies alone are
            groups, which is enough where nothing is split.
        cache: Folder in which found groups are kept, so that the next call is quick.

    Raises:
        DatasetError: A class folder is missing or empty, the manifest has no such columns, or none
            that names an image is there where it is asked for.
    """
    samples = [_alone(label, path) for label, path in labelled_files(root)]
    named = _read_groups(root) if groups in ("auto", "manifest") else {}
    given = {place: named[key] for place, s in enumerate(samples) if (key := _key(s.path)) in named}
    if groups == "manifest" and not given:
        raise DatasetError(f"No {MANIFEST} in {root} or beside it names its images.")
    found: dict[str, str] = {}
    if groups == "detected" or (groups == "auto" and len(given) < len(samples)):
        paths = {sample.sha256: sample.path for sample in samples}
        found = name_groups(list(paths), detect_overlaps(paths, cache=cache))
    return Dataset(root=root, samples=_grouped(samples, given, found))


def labelled_files(root: Path) -> list[tuple[Label, Path]]:
    """The files of each class folder, whatever is in them.

    Raises:
        DatasetError: A class folder is missing or empty.
    """
    if not root.is_dir():
        raise DatasetError(f"{root} is no folder.")
    found: list[tuple[Label, Path]] = []
    for label in LABELS:
        files = sorted(path for path in (root / label).glob("*") if _is_meant(path))
        if not files:
            there = sorted(path.name for path in root.iterdir() if path.is_dir())
            raise DatasetError(
                f"{root / label} is missing or empty; a folder is called as its class: "
                f"{', '.join(LABELS)}. There is {', '.join(there) or 'no folder'}."
            )
        found.extend((label, path) for path in files)
    return found


def _alone(label: Label, path: Path) -> Sample:
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return Sample(path=path, label=label, sha256=sha256, group=sha256)


def _is_meant(path: Path) -> bool:
    """Whether somebody put a file there, and not a file manager for itself."""
    return path.is_file() and not path.name.startswith(".") and path.name not in _OF_FILE_MANAGERS


def _key(path: str | Path) -> str:
    """What a file is called in a manifest: CLASS/NAME, whatever folders come before."""
    return "/".join(Path(path).parts[-2:])


def _read_groups(root: Path) -> dict[str, str]:
    """The group of each file that a manifest gives one; nothing where there is no manifest."""
    for folder in (root, root.parent):
        manifest = folder / MANIFEST
        if manifest.is_file():
            try:
                rows = csv.DictReader(manifest.read_text("utf-8-sig").splitlines())
            except UnicodeDecodeError as error:
                raise DatasetError(f"{manifest} is no text in UTF-8.") from error
            if not {"file", "group"} <= set(rows.fieldnames or ()):
                raise DatasetError(f"{manifest} has no columns `file` and `group`.")
            named = [(row["file"], row["group"]) for row in rows]
            return {_key(file): group for file, group in named if file and group}
    return {}


def _grouped(
    samples: Sequence[Sample], given: Mapping[int, str], found: Mapping[str, str]
) -> tuple[Sample, ...]:
    """Samples in groups: those of a manifest, those that were found, and exact copies.

    Groups that share an image are one. It is called as the first that a manifest names, else as
    what was found.
    """
    links: list[tuple[int, int]] = []
    first_of: dict[tuple[str, str], int] = {}
    for place, sample in enumerate(samples):
        keys = [("content", sample.sha256), ("found", found.get(sample.sha256, sample.sha256))]
        keys += [("given", given[place])] if place in given else []
        links += [(first_of.setdefault(key, place), place) for key in keys]
    names: dict[int, str] = {}
    numbers = connect(len(samples), links)
    for place, number in enumerate(numbers):
        if place in given:
            names.setdefault(number, given[place])
    for sample, number in zip(samples, numbers, strict=True):
        names.setdefault(number, found.get(sample.sha256, sample.sha256))
    return tuple(
        replace(sample, group=names[number])
        for sample, number in zip(samples, numbers, strict=True)
    )


def load_usable(
    samples: tuple[Sample, ...], *, masked: bool = True
) -> tuple[tuple[Sample, ...], Pixels, dict[str, str]]:
    """Read the images that can be read.

    Args:
        samples: What to read.
        masked: As in `load_pixels`.

    Returns:
        Those that were read, their pixels of shape (n, 224, 224, 3), and the code of what is wrong
        with each of the others, by CLASS/NAME.

    Raises:
        DatasetError: No image of a class can be used.
    """
    load = load_model_input if masked else load_resized
    usable, images, faults = [], [], {}
    for sample in with_bar(samples, "Reading images"):
        try:
            images.append(load(sample.path, max_pixels=DEFAULT_MAX_PIXELS))
            usable.append(sample)
        except ImageError as error:
            faults[_key(sample.path)] = error.code
    missing = {sample.label for sample in samples} - {sample.label for sample in usable}
    if missing:
        raise DatasetError(
            f"There is no image that can be used of {', '.join(sorted(missing))}: {_shown(faults)}"
        )
    return tuple(usable), np.stack(images), faults


def load_pixels(samples: tuple[Sample, ...], *, masked: bool = True) -> Pixels:
    """Read images as a model sees them.

    Args:
        samples: What to read.
        masked: Hide the scale bar; only the `published` protocol leaves it in.

    Returns:
        Shape (n, 224, 224, 3).

    Raises:
        DatasetError: Files that are no usable images, all named.
    """
    _, images, faults = load_usable(samples, masked=masked)
    if faults:
        raise DatasetError(f"These files cannot be used: {_shown(faults)}")
    return images


def _shown(faults: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({code})" for name, code in faults.items())


def label_indices(samples: tuple[Sample, ...]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Class indices of samples, shape (n,)."""
    return np.array([LABELS.index(sample.label) for sample in samples], dtype=np.int64)
