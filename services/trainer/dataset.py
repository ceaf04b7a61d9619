"""Reads a folder of labelled smear images into a data set version.

A version is its content: each image is named by its SHA-256, and the version's own hash is made of
the labels and hashes of all of its images. Nothing about it depends on file names or their order.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from services.trainer.groups import OVERLAPS, detect_overlaps, name_groups
from services.trainer.waiting import with_bar
from shared.errors import DatasetError, ImageError
from shared.imaging import Pixels
from shared.imaging.decode import load_model_input, load_resized
from shared.settings import DEFAULT_MAX_PIXELS
from shared.triage.labels import LABELS, Label

MANIFEST = "manifest.csv"

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
            manifest where there is one, else the search. `none`: exact copies alone are groups,
            which is enough where nothing is split.
        cache: Folder in which found groups are kept, so that the next call is quick.

    Raises:
        DatasetError: A class folder is missing or empty, or there is no manifest where it is
            asked for.
    """
    files = [
        (label, path, hashlib.sha256(path.read_bytes()).hexdigest())
        for label, path in labelled_files(root)
    ]
    named = _read_groups(root) if groups in ("auto", "manifest") else None
    if named is None and groups == "manifest":
        raise DatasetError(f"There is no {MANIFEST} in {root} or beside it.")
    found: dict[str, str] = {}
    if named is None and groups != "none":
        paths = {sha256: path for _, path, sha256 in files}
        found = name_groups(list(paths), detect_overlaps(paths, cache=cache))
    samples = []
    for label, path, sha256 in files:
        group = (named or {}).get(f"{label}/{path.name}", found.get(sha256, sha256))
        samples.append(Sample(path=path, label=label, sha256=sha256, group=group))
    return Dataset(root=root, samples=tuple(samples))


def labelled_files(root: Path) -> list[tuple[Label, Path]]:
    """The files of each class folder, whatever is in them.

    Raises:
        DatasetError: A class folder is missing or empty.
    """
    if not root.is_dir():
        raise DatasetError(f"{root} is no folder.")
    found: list[tuple[Label, Path]] = []
    for label in LABELS:
        files = sorted(path for path in (root / label).glob("*") if path.is_file())
        if not files:
            raise DatasetError(f"{root / label} is missing or empty.")
        found.extend((label, path) for path in files)
    return found


def _read_groups(root: Path) -> dict[str, str] | None:
    for folder in (root, root.parent):
        manifest = folder / MANIFEST
        if manifest.is_file():
            with manifest.open(newline="") as file:
                return {row["file"]: row["group"] for row in csv.DictReader(file)}
    return None


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
    load = load_model_input if masked else load_resized
    images, faults = [], []
    for sample in with_bar(samples, "Reading images"):
        try:
            images.append(load(sample.path, max_pixels=DEFAULT_MAX_PIXELS))
        except ImageError as error:
            faults.append(f"{sample.path.name} ({error.code})")
    if faults:
        raise DatasetError("These files cannot be used: " + ", ".join(faults))
    return np.stack(images)


def label_indices(samples: tuple[Sample, ...]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Class indices of samples, shape (n,)."""
    return np.array([LABELS.index(sample.label) for sample in samples], dtype=np.int64)
