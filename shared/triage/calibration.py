"""Calibration of softmax outputs, applied here and nowhere else.

Sources: Guo et al., On Calibration of Modern Neural Networks, ICML 2017 (temperature and vector
scaling).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.triage.labels import LABELS


@dataclass(frozen=True)
class Calibration:
    """softmax(scale * log(p) + shift), with a scale and a shift a class.

    Of a temperature T, each scale is 1/T and each shift 0: it softens above 1, sharpens below 1 and
    never changes the order of the classes. Other values may change it.
    """

    scale: tuple[float, ...]
    shift: tuple[float, ...]

    @classmethod
    def of_temperature(cls, temperature: float) -> Calibration:
        """One scale for all classes.

        Raises:
            ValueError: The temperature is not positive.
        """
        if not temperature > 0:
            raise ValueError(f"expected a positive temperature, received: {temperature}")
        return cls((1 / temperature,) * len(LABELS), (0.0,) * len(LABELS))

    @classmethod
    def from_card(cls, described: Mapping[str, Any]) -> Calibration:
        """What a card's `calibration` says: a `temperature`, or a `scale` and a `shift`."""
        if "temperature" in described:
            return cls.of_temperature(float(described["temperature"]))
        return cls(tuple(described["scale"]), tuple(described["shift"]))

    def apply(self, probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
        """Calibrate raw softmax of shape (n, 4), rows of which sum to 1; so do the results'."""
        # The smallest float32 stands for log(0); it is finite, so that a row never becomes NaN.
        logits = np.log(np.maximum(probabilities.astype(np.float64), np.finfo(np.float32).tiny))
        scaled = logits * self.scale + self.shift
        scaled -= scaled.max(axis=1, keepdims=True)
        exponentials = np.exp(scaled)
        calibrated: NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
        return calibrated
