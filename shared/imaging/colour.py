"""Arithmetic of colours that augmentation, perturbation and normalisation share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.imaging import Pixels

LUMA = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in the luma. Source: ITU-R BT.601."""

GREY_AXIS = np.full(3, 1 / np.sqrt(3))
"""The direction of all greys; a turn about it turns the hue."""

PERCENTILES = (5, 25, 50, 75, 95)
"""Of each channel, in `colour_statistics`."""

_LEVELS = np.arange(256)


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


def colour_statistics(images: Pixels) -> NDArray[np.float64]:
    """Mean, standard deviation and five percentiles of each channel.

    Args:
        images: Shape (n, height, width, 3).

    Returns:
        Shape (n, 21), in levels of 0..255: three means, three deviations, and by percentile the
        three channels.
    """
    counts = np.array([Image.fromarray(image).histogram() for image in images])
    counts = counts.reshape(len(images), 3, len(_LEVELS))
    pixels = counts[0, 0].sum() if len(images) else 0
    mean = counts @ _LEVELS / max(pixels, 1)
    square = counts @ _LEVELS**2 / max(pixels, 1)
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    percentiles = _percentiles(counts.cumsum(axis=2), pixels)
    return np.concatenate([mean, deviation, percentiles], axis=1)


def _percentiles(cumulated: NDArray[Any], pixels: int) -> NDArray[np.float64]:
    """Of channels given by their cumulated histograms, with linear interpolation, shape (n, 15)."""
    positions = (pixels - 1) * np.array(PERCENTILES)[:, np.newaxis] / 100
    below = positions.astype(int)
    by_percentile = cumulated[:, np.newaxis]
    lower, upper = (
        (by_percentile <= rank[..., np.newaxis]).sum(axis=3) for rank in (below, below + 1)
    )
    values: NDArray[np.float64] = lower + (upper - lower) * (positions - below)
    return values.reshape(-1, len(positions) * cumulated.shape[1])
