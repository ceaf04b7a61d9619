"""The batches of an epoch.

All randomness comes of the run's seed and the epoch's number alone, so that a run that was
interrupted goes on as if it had not been.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from services.trainer.features import FeatureRows
from services.trainer.plan import TrainingPlan
from services.trainer.representation import represent
from shared.imaging import Pixels
from shared.imaging.augment import augment
from shared.triage.labels import LABELS

Inputs = Pixels | FeatureRows
"""What a network takes: pixels, or cached features of its frozen part."""
Targets = NDArray[np.float32]
Teacher = Callable[[Pixels], NDArray[np.float64]]

EpochBatches = Callable[[int], keras.utils.PyDataset]
"""Gives the batches of an epoch by its number."""

_TEACHER_SHARE = 0.7
_PREFETCH_THREADS = 2


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Rows of one array in a given order; `prepare` turns the chosen rows into inputs."""

    def __init__(
        self,
        order: NDArray[np.int64],
        size: int,
        prepare: Callable[[NDArray[np.int64], int], tuple[NDArray[Any], Targets]],
    ) -> None:
        super().__init__(workers=_PREFETCH_THREADS, max_queue_size=4)
        self._order, self._size, self._prepare = order, size, prepare

    def __len__(self) -> int:
        return math.ceil(len(self._order) / self._size)

    def __getitem__(self, index: int) -> tuple[NDArray[Any], Targets]:
        start = index * self._size
        return self._prepare(self._order[start : start + self._size], start)


def one_hot(labels: NDArray[np.int64], smoothing: float = 0.0) -> Targets:
    """Targets of shape (n, 4), smoothed towards the uniform distribution."""
    targets = np.eye(len(LABELS), dtype=np.float32)[labels]
    return targets * np.float32(1 - smoothing) + np.float32(smoothing / len(LABELS))


def in_order(inputs: Inputs, labels: NDArray[np.int64], size: int) -> Batches:
    """All rows as they stand, for validation."""
    return Batches(
        np.arange(len(labels)), size, lambda rows, _: (inputs[rows], one_hot(labels[rows]))
    )


def fixed(inputs: Inputs, labels: NDArray[np.int64], plan: TrainingPlan) -> EpochBatches:
    """The same images each epoch, in another order: the study's."""

    def epoch(number: int) -> Batches:
        order = np.random.default_rng([plan.seed, number]).permutation(len(labels))
        return Batches(
            order,
            plan.batch_size,
            lambda rows, _: (inputs[rows], one_hot(labels[rows], plan.label_smoothing)),
        )

    return epoch


def fresh(
    images: Pixels,
    labels: NDArray[np.int64],
    plan: TrainingPlan,
    *,
    masked: bool,
    teacher: Teacher | None = None,
) -> EpochBatches:
    """New variants each epoch, the same number of each class.

    Args:
        images: The training images, shape (n, 224, 224, 3).
        labels: Their class indices.
        plan: The plan.
        masked: Whether the variants get the scale-bar mask.
        teacher: Gives the probabilities that the targets are mixed with.
    """
    lock = threading.Lock()

    def epoch(number: int) -> Batches:
        order = _balanced(labels, plan, np.random.default_rng([plan.seed, number]))

        def prepare(rows: NDArray[np.int64], start: int) -> tuple[NDArray[Any], Targets]:
            variants = np.stack(
                [
                    augment(
                        images[row],
                        np.random.default_rng([plan.seed, number, start + offset]),
                        plan.augmentation,
                        masked=masked,
                    )
                    for offset, row in enumerate(rows)
                ]
            )
            targets = one_hot(labels[rows], plan.label_smoothing)
            if teacher is not None:
                with lock:  # an engine serves one thread at a time
                    taught = teacher(variants).astype(np.float32)
                targets = _TEACHER_SHARE * taught + (1 - _TEACHER_SHARE) * targets
            return represent(variants, plan.representation), targets

        return Batches(order, plan.batch_size, prepare)

    return epoch


def _balanced(
    labels: NDArray[np.int64], plan: TrainingPlan, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Rows of an epoch: as many of each class, each as often as any other within one."""
    chosen = [
        cycle(np.flatnonzero(labels == index), plan.images_per_class, rng)
        for index in range(len(LABELS))
    ]
    return rng.permutation(np.concatenate(chosen))


def cycle(rows: NDArray[np.int64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """`count` of the rows, each as often as any other (within one), in random order."""
    rounds = [rng.permutation(rows) for _ in range(math.ceil(count / len(rows)))]
    return np.concatenate(rounds)[:count]
