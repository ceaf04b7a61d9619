"""Splits a data set into training, validation and test parts: seeded, hashed, reproducible.

Protocols:
    published: 60/20/20 by image, scale bar left in. Only to reproduce the study; never shipped.
    random: the same split, scale bar masked. Overlapping fields leak across it.
    grouped: scale bar masked, and no group of overlapping fields crosses the split. The honest one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from services.trainer.dataset import Dataset, Sample
from shared.errors import ConflictError, DatasetError
from shared.triage.labels import LABELS

TRAIN_SHARE = 0.6
VALIDATION_SHARE = 0.2


class Protocol(StrEnum):
    """How images are split, and whether the scale bar is hidden."""

    PUBLISHED = "published"
    RANDOM = "random"
    GROUPED = "grouped"

    @property
    def masked(self) -> bool:
        """Whether the scale bar is hidden."""
        return self is not Protocol.PUBLISHED


@dataclass(frozen=True)
class Split:
    """Three disjoint parts of a data set."""

    protocol: Protocol
    seed: int
    train: tuple[Sample, ...]
    validation: tuple[Sample, ...]
    test: tuple[Sample, ...]

    @property
    def without_test(self) -> tuple[Sample, ...]:
        """The training and the validation part."""
        return self.train + self.validation

    @property
    def hash(self) -> str:
        """SHA-256 over which image is in which part."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        lines = sorted(f"{name} {s.sha256} {s.label}" for name, part in parts.items() for s in part)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def split_dataset(dataset: Dataset, protocol: Protocol, seed: int) -> Split:
    """Split each class 60/20/20.

    The same images, protocol and seed give the same split on every machine, whatever the files
    are called. A group that spans classes goes where its images of the first class go.
    """
    rng = np.random.default_rng(seed)
    train: list[Sample] = []
    validation: list[Sample] = []
    test: list[Sample] = []
    part_of: dict[str, list[Sample]] = {}
    for label in LABELS:
        units = _units([s for s in dataset.samples if s.label is label], protocol)
        total = sum(len(unit) for unit in units)
        taken = 0
        for index in rng.permutation(len(units)):
            if taken < TRAIN_SHARE * total:
                part = train
            elif taken < (TRAIN_SHARE + VALIDATION_SHARE) * total:
                part = validation
            else:
                part = test
            if protocol is Protocol.GROUPED:
                part = part_of.setdefault(units[index][0].group, part)
            part.extend(units[index])
            taken += len(units[index])
    return Split(protocol, seed, tuple(train), tuple(validation), tuple(test))


def require_every_class(split: Split) -> None:
    """Refuse a split that cannot be measured.

    Raises:
        DatasetError: A part has no image of a class.
    """
    parts = {"training": split.train, "validation": split.validation, "test": split.test}
    for name, part in parts.items():
        missing = sorted(set(LABELS) - {sample.label for sample in part})
        if missing:
            raise DatasetError(f"Too few groups: the {name} part has no {', '.join(missing)}.")


def require_unseen(split: Split, dataset: Dataset, cards: Iterable[Mapping[str, Any]]) -> None:
    """Refuse versions of the same images that may have trained on what is tested here.

    Args:
        split: What is measured on its test part.
        dataset: What was split.
        cards: Of versions that are learned from, or joined.

    Raises:
        ConflictError: One was trained on another split of the data set.
    """
    for card in cards:
        if card["data"]["version"] == dataset.version and card["split"]["hash"] != split.hash:
            raise ConflictError(
                f"{card['name']}@{card['version']} was trained on another split of these images: "
                "it may know the test part."
            )


def _units(samples: list[Sample], protocol: Protocol) -> list[list[Sample]]:
    """What moves as a whole: an image, or a group of overlapping fields."""
    if protocol is not Protocol.GROUPED:
        return [[sample] for sample in sorted(samples, key=lambda s: (s.sha256, s.path.name))]
    groups: dict[str, list[Sample]] = {}
    for sample in sorted(samples, key=lambda s: (s.sha256, s.path.name)):
        groups.setdefault(sample.group, []).append(sample)
    return sorted(groups.values(), key=lambda group: group[0].sha256)
