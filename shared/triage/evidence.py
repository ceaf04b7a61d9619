"""What is known of one smear field when the policy decides: probabilities, and what doubts them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.imaging.quality import LIMITS, Quality, quality_faults
from shared.triage.labels import LABELS, Label
from shared.triage.policy import Reason


@dataclass(frozen=True)
class Evidence:
    """Of one image. What is None was not looked at."""

    raw: NDArray[np.float32]
    """Softmax, shape (4,)."""
    calibrated: NDArray[np.float64]
    """Calibrated probabilities, shape (4,)."""
    opinions: tuple[NDArray[np.float64], ...] = ()
    """Calibrated probabilities by each member of an ensemble, shape (4,) each."""
    raw_opinions: tuple[NDArray[np.float32], ...] = ()
    """Their softmax."""
    label_set: tuple[Label, ...] | None = None
    """The conformal set, see `shared.triage.conformal`; it need not hold the prediction."""
    unlikeness: float | None = None
    """Distance from the training images in units of its threshold, see `shared.models.likeness`."""
    quality: Quality | None = None
    similar: tuple[np.void, ...] = ()
    """The nearest training images, of type `shared.models.cases.SIMILAR`; they decide nothing."""

    @property
    def label(self) -> Label:
        """The predicted class."""
        return LABELS[int(self.calibrated.argmax())]

    @property
    def quality_version(self) -> str | None:
        """Version of the limits of quality, where it was measured."""
        return None if self.quality is None else LIMITS.version

    @property
    def flags(self) -> tuple[Reason, ...]:
        """What asks for review whatever the probabilities are."""
        return (*self._of_set(), *self._of_members(), *self._of_likeness(), *self._of_quality())

    def _of_set(self) -> list[Reason]:
        if self.label_set is None or self.label_set == (self.label,):
            return []
        if len(self.label_set) > 1:
            return [Reason.SEVERAL_LABELS]
        return [Reason.ANOTHER_LABEL_FITS if self.label_set else Reason.NO_LABEL_FITS]

    def _of_members(self) -> list[Reason]:
        winner = self.calibrated.argmax()
        disagree = any(opinion.argmax() != winner for opinion in self.opinions)
        return [Reason.MEMBERS_DISAGREE] if disagree else []

    def _of_likeness(self) -> list[Reason]:
        if self.unlikeness is None:
            return [Reason.INPUT_NOT_CHECKED]
        is_like = self.unlikeness <= 1  # what is no number is not
        return [] if is_like else [Reason.UNLIKE_TRAINING_DATA]

    def _of_quality(self) -> list[Reason]:
        faults = quality_faults(self.quality) if self.quality is not None else ()
        return [Reason(fault.value) for fault in faults]
