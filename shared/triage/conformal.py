"""Conformal sets: the labels that an image may have, at a stated coverage.

A label belongs to the set where its calibrated probability reaches the label's least one. The least
one is such that, among new images of that very class, the set holds the true label at least as
often as the coverage says: whatever the model, as long as new images are like those it was fitted
on.

Source: Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005, section 4.5
(Mondrian, here by class); Sadinle, Lei and Wasserman, J. Am. Stat. Assoc. 114:223, 2019.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.triage.labels import LABELS


@dataclass(frozen=True)
class Conformal:
    """Coverage, and by label in the order of `LABELS` the least calibrated probability."""

    coverage: float
    least: tuple[float, ...]

    @classmethod
    def from_card(cls, described: Mapping[str, Any]) -> Conformal:
        """What a card's `conformal` says."""
        least = described["least_probability"]
        return cls(float(described["coverage"]), tuple(float(least[label]) for label in LABELS))

    def sets(self, calibrated: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which labels belong to each image's set.

        Args:
            calibrated: Shape (n, 4).

        Returns:
            Shape (n, 4). A row without any label is one that the model has rarely been so unsure
            of among images of any class.
        """
        inside: NDArray[np.bool_] = calibrated >= np.array(self.least)
        return inside
