"""Fits calibration and conformal sets on validation images."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar
from sklearn.model_selection import GroupKFold

from services.trainer.metrics import Labels
from shared.triage.calibration import Calibration
from shared.triage.conformal import Conformal
from shared.triage.labels import LABELS

COVERAGES = (0.98, 0.95, 0.9, 0.8)
"""Of conformal sets, the first that is of use. Of n images no more than n / (n + 1) is promised."""

MOST_DOUBTED = 0.1
"""Share of the images that may have another set than of one label, for a coverage to be of use."""

_TEMPERATURES = (0.05, 20.0)
_SCALES = (1 / _TEMPERATURES[1], 1 / _TEMPERATURES[0])
_FOLDS, _FEWEST_FOLDS = 5, 2
_PULL = 1e-3
"""Weight of the squared distance of a vector from the temperature that it starts from."""


def fit_calibration(labels: Labels, raw: NDArray[np.float32], groups: list[str]) -> dict[str, Any]:
    """What a card says of the calibration with the least negative log-likelihood.

    A vector, with a scale and a shift a class, is taken where it is better than a temperature by
    more than one standard error on groups of images that it was not fitted on.

    Args:
        labels: True class indices, shape (n,); never of images that test or train the model.
        raw: Softmax, shape (n, 4).
        groups: Of overlapping fields, one name an image.
    """
    compared = compare_vector(labels, raw, groups)
    temperature = fit_temperature(labels, raw)
    described: dict[str, Any] = {"method": "temperature", "temperature": temperature}
    if compared["gain"] > compared["standard_error"]:
        fitted = fit_vector(labels, raw)
        described = {"method": "vector", "scale": list(fitted.scale), "shift": list(fitted.shift)}
    return {**described, "vector_over_temperature": compared}


def compare_vector(labels: Labels, raw: NDArray[np.float32], groups: list[str]) -> dict[str, float]:
    """By how much a vector lowers the mean loss against a temperature, with its standard error.

    Each image is calibrated by what was fitted without its group. Arguments as above.
    """
    gain = _gain_of_vector(labels, raw, groups)
    return {"gain": float(gain.mean()), "standard_error": float(gain.std() / len(gain) ** 0.5)}


def fit_temperature(labels: Labels, raw: NDArray[np.float32]) -> float:
    """The temperature with the least negative log-likelihood."""
    found = minimize_scalar(
        lambda t: float(_losses(Calibration.of_temperature(t), labels, raw).mean()),
        bounds=_TEMPERATURES,
        method="bounded",
    )
    return float(found.x)


def fit_vector(labels: Labels, raw: NDArray[np.float32]) -> Calibration:
    """Scale and shift a class with the least negative log-likelihood, near a temperature."""
    start = np.array([1 / fit_temperature(labels, raw)] * len(LABELS) + [0.0] * len(LABELS))

    def loss(values: NDArray[np.float64]) -> float:
        distance = float(((values - start) ** 2).sum())
        return float(_losses(_vector(values), labels, raw).mean()) + _PULL * distance

    bounds = [_SCALES] * len(LABELS) + [(None, None)] * len(LABELS)
    return _vector(minimize(loss, start, method="L-BFGS-B", bounds=bounds).x)


def choose_conformal(labels: Labels, calibrated: NDArray[np.float64]) -> dict[str, Any]:
    """What a card says of the conformal sets at the highest coverage that is of use.

    Where a network is wrong and sure of it in more images of a class than a coverage leaves out,
    that coverage puts the class into the sets of half of all images. A lower one is then stated.

    Args:
        labels: True class indices, shape (n,); never of images that test or train the model.
        calibrated: Shape (n, 4).
    """
    for coverage in COVERAGES:
        described = fit_conformal(labels, calibrated, coverage)
        sets = Conformal.from_card(described).sets(calibrated)
        if np.mean(sets.sum(axis=1) != 1) <= MOST_DOUBTED:
            break
    return described


def fit_conformal(
    labels: Labels, calibrated: NDArray[np.float64], coverage: float
) -> dict[str, Any]:
    """The same at a coverage: the share of new images of each class whose set holds their label.

    The least probability of a class is the one that all but a share of its images reach. Of a
    class with too few images for the coverage it is 0, and the set then always holds the class.
    """
    least = {}
    for index, label in enumerate(LABELS):
        own = np.sort(calibrated[labels == index, index])
        missed = int(np.floor((len(own) + 1) * (1 - coverage) + 1e-9))
        least[str(label)] = float(own[missed - 1]) if missed else 0.0
    return {
        "method": "split conformal, by class",
        "coverage": coverage,
        "least_probability": least,
        "images": {str(label): int((labels == i).sum()) for i, label in enumerate(LABELS)},
    }


def _gain_of_vector(
    labels: Labels, raw: NDArray[np.float32], groups: list[str]
) -> NDArray[np.float64]:
    """By how much a vector lowers each image's loss, fitted without the image's fold."""
    gain = np.zeros(len(labels))
    folds = min(_FOLDS, len(set(groups)))
    if folds < _FEWEST_FOLDS:
        return gain
    for fitted, held in GroupKFold(folds).split(raw, labels, groups):
        chosen = labels[fitted], raw[fitted]
        temperature = Calibration.of_temperature(fit_temperature(*chosen))
        vector = fit_vector(*chosen)
        before, after = (_losses(c, labels[held], raw[held]) for c in (temperature, vector))
        gain[held] = before - after
    return gain


def _losses(
    calibration: Calibration, labels: Labels, raw: NDArray[np.float32]
) -> NDArray[np.float64]:
    chosen = calibration.apply(raw)[np.arange(len(labels)), labels]
    losses: NDArray[np.float64] = -np.log(np.maximum(chosen, np.finfo(np.float64).tiny))
    return losses


def _vector(values: NDArray[np.float64]) -> Calibration:
    scale, shift = values[: len(LABELS)], values[len(LABELS) :]
    return Calibration(tuple(map(float, scale)), tuple(map(float, shift)))
