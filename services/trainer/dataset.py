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

import numpy as np
from rich.progress import track

from shared.errors import DatasetError, ImageError
from shared.imaging import Pixels
from shared.imaging.decode import load_model_input, load_resized
from shared.settings import DEFAULT_MAX_PIXELS
from shared.triage.labels import LABELS, Label

MANIFEST = "manifest.csv"


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


def read_dataset(root: Path) -> Dataset:
    """Read a folder that holds one folder a class.

    Groups of overlapping fields come from a `manifest.csv` (columns `file` and `group`) in the
    folder or beside it; an image that it does not name is in one group with its exact copies.

    Raises:
        DatasetError: A class folder is missing or empty, or a file is no usable image; all the
            files that are wrong are named.
    """
    if not root.is_dir():
        raise DatasetError(f"{root} is no folder.")
    groups = _read_groups(root)
    samples = []
    for label in LABELS:
        folder = root / label
        files = sorted(path for path in folder.glob("*") if path.is_file())
        if not files:
            raise DatasetError(f"{folder} is missing or empty.")
        for path in files:
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            group = groups.get(f"{label}/{path.name}", sha256)
            samples.append(Sample(path=path, label=label, sha256=sha256, group=group))
    return Dataset(root=root, samples=tuple(samples))


def _read_groups(root: Path) -> dict[str, str]:
    for folder in (root, root.parent):
        manifest = folder / MANIFEST
        if manifest.is_file():
            with manifest.open(newline="") as file:
                return {row["file"]: row["group"] for row in csv.DictReader(file)}
    return {}


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
    for sample in track(samples, description="Reading images", transient=True):
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
