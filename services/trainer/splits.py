"""Splits a data set into training, validation and test parts: seeded, hashed, reproducible.

Protocols:
    published: 60/20/20 by image, scale bar left in. Only to reproduce the study; never shipped.
    random: the same split, scale bar masked. Overlapping fields leak across it.
    grouped: scale bar masked, and no group of overlapping fields crosses the split. The honest one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from services.trainer.dataset import Dataset, Sample
from shared.errors import ConflictError, DatasetError
from shared.models.cases import ID_LENGTH, Cases
from shared.models.registry import ModelVersion
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


def require_unseen(split: Split, dataset: Dataset, versions: Iterable[ModelVersion]) -> None:
    """Refuse versions that trained, or may have trained, on what is tested here.

    Args:
        split: What is measured on its test part.
        dataset: What was split.
        versions: Those that are learned from, or joined.

    Raises:
        ConflictError: One was trained on another split of the data set, or names images of the
            test part among its training images.
        ModelArtefactError: The cases of one are missing or altered.
    """
    for version in versions:
        card = version.card
        if seen := count_seen(version, split.test, split_hash=split.hash):
            raise ConflictError(
                f"{version} was trained on {seen} of the {len(split.test)} images of the test part."
            )
        if card["data"]["version"] == dataset.version and card["split"]["hash"] != split.hash:
            raise ConflictError(
                f"{version} was trained on another split of these images: "
                "it may know the test part."
            )


def count_seen(
    version: ModelVersion, samples: Iterable[Sample], *, split_hash: str | None = None
) -> int:
    """How many images are, by their SHA-256, training images of a version or of its members.

    Only those that ship cases tell: of a version without them nothing is known.

    Args:
        version: The version.
        samples: The images.
        split_hash: Of the split whose test part the images are. What trained by that split has
            not seen them, unless a copy of one is in two parts of it.

    Raises:
        ModelArtefactError: The cases of one are missing or altered.
    """
    ids: set[str] = set()
    for trained in (version, *(member.version for member in version.members)):
        if split_hash is None or trained.card["split"]["hash"] != split_hash:
            cases = Cases.of(trained)
            ids.update(() if cases is None else cases.ids.tolist())
    return sum(sample.sha256[:ID_LENGTH] in ids for sample in samples)


def _units(samples: list[Sample], protocol: Protocol) -> list[list[Sample]]:
    """What moves as a whole: an image, or a group of overlapping fields."""
    if protocol is not Protocol.GROUPED:
        return [[sample] for sample in sorted(samples, key=lambda s: (s.sha256, s.path.name))]
    groups: dict[str, list[Sample]] = {}
    for sample in sorted(samples, key=lambda s: (s.sha256, s.path.name)):
        groups.setdefault(sample.group, []).append(sample)
    return sorted(groups.values(), key=lambda group: group[0].sha256)
