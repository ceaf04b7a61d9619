"""Parity: an artefact is written only where it answers as Keras does on the same images."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
from numpy.typing import NDArray

from shared.errors import ModelArtefactError
from shared.imaging import Pixels

Weights = Literal["float32", "float16", "int8"]
"""The precision in which an artefact stores its weights."""


@dataclass(frozen=True)
class Tolerance:
    """What may differ: a probability by how much (None: any), and in how many labels."""

    largest_difference: float | None
    least_agreement: float = 1.0

    def __str__(self) -> str:
        limit = self.largest_difference
        asked = f"at least {self.least_agreement:.0%} of the labels must be equal"
        return asked if limit is None else f"{asked} and no difference above {limit:.0e}"


TOLERANCES: dict[Weights, Tolerance] = {
    "float32": Tolerance(1e-4),
    "float16": Tolerance(5e-3),
    # An int8 softmax has steps of 1/256, and the layers before it add theirs.
    "int8": Tolerance(None, least_agreement=0.97),
}


@dataclass(frozen=True)
class Parity:
    """How an artefact's probabilities compare with Keras' own."""

    images: int
    equal_labels: int
    largest_difference: float
    mean_difference: float

    @classmethod
    def between(cls, reference: NDArray[np.float32], exported: NDArray[np.float32]) -> Parity:
        """Compare two sets of probabilities of the same images, each of shape (n, 4)."""
        difference = np.abs(reference - exported)
        equal = reference.argmax(axis=1) == exported.argmax(axis=1)
        return cls(len(equal), int(equal.sum()), float(difference.max()), float(difference.mean()))

    def __str__(self) -> str:
        return (
            f"{self.equal_labels} of {self.images} labels equal to those of Keras, largest "
            f"difference of a probability {self.largest_difference:.1e}, mean "
            f"{self.mean_difference:.1e}"
        )

    def within(self, tolerance: Tolerance) -> bool:
        """Whether the artefact may be used; probabilities that are no numbers never are."""
        limit = np.inf if tolerance.largest_difference is None else tolerance.largest_difference
        agree = self.equal_labels >= tolerance.least_agreement * self.images
        return agree and self.largest_difference <= limit


def keras_probabilities(model: keras.Model, images: Pixels) -> NDArray[np.float32]:
    """What Keras gives for images of shape (n, 224, 224, 3): shape (n, 4)."""
    probabilities: NDArray[np.float32] = model.predict(images, batch_size=32, verbose=0)
    return probabilities


def write_artefact(path: Path, data: bytes, weights: Weights, parity: Parity) -> dict[str, Any]:
    """Write an artefact if its parity is within `TOLERANCES`; otherwise no file is made.

    Returns:
        `file` (its name), `sha256`, `bytes`, `weights` and `parity` with what was tolerated.

    Raises:
        ModelArtefactError: It differs from Keras by more.
    """
    tolerance = TOLERANCES[weights]
    if not parity.within(tolerance):
        raise ModelArtefactError(f"{path.name} with {weights} weights: {parity}; {tolerance}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return {
        "file": path.name,
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "weights": weights,
        "parity": {**asdict(parity), "tolerated": asdict(tolerance)},
    }
