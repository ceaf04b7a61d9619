"""Arithmetic of colours that augmentation, perturbation and normalisation share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.imaging import Pixels

LUMA = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in the luma. Source: ITU-R BT.601."""

GREY_AXIS = np.full(3, 1 / np.sqrt(3))
"""The direction of all greys; a turn about it turns the hue."""


def to_pixels(values: NDArray[Any]) -> Pixels:
    """Round, and clip to 0..255."""
    pixels: Pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return pixels


def rotation(axis: NDArray[np.float64], degrees: float) -> NDArray[np.float64]:
    """Matrix that turns row vectors about a unit axis (Rodrigues' formula), shape (3, 3)."""
    x, y, z = axis
    cross = np.array([[0, z, -y], [-z, 0, x], [y, -x, 0]])
    angle = np.radians(degrees)
    turned: NDArray[np.float64] = (
        np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    )
    return turned


def saturation(factor: float) -> NDArray[np.float64]:
    """Matrix that mixes row vectors with their luma; 0 makes grey, 1 changes nothing."""
    mixture: NDArray[np.float64] = factor * np.eye(3) + (1 - factor) * np.outer(LUMA, np.ones(3))
    return mixture
