"""Fits the calibration temperature on validation images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from services.trainer.metrics import Labels
from shared.triage.calibration import apply_temperature

_BOUNDS = (0.05, 20.0)


def fit_temperature(labels: Labels, raw: NDArray[np.float32]) -> float:
    """The temperature with the least negative log-likelihood.

    Args:
        labels: True class indices, shape (n,); never of images that test or train the model.
        raw: Softmax, shape (n, 4).
    """

    def loss(temperature: float) -> float:
        chosen = apply_temperature(raw, temperature)[np.arange(len(labels)), labels]
        return float(-np.log(np.maximum(chosen, np.finfo(np.float64).tiny)).mean())

    return float(minimize_scalar(loss, bounds=_BOUNDS, method="bounded").x)
