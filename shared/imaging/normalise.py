"""Takes colour differences between smears away: grey levels alone, or one common stain.

Both show how much a model leans on stain colour, which on the ALL set tells the classes apart
without any morphology.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from shared.imaging import Pixels
from shared.imaging.colour import LUMA
from shared.imaging.mask import MASK_SIZE, mask_scale_bar
from shared.imaging.stain import from_optical_density, optical_density

Matrix = NDArray[np.float64]
Number = TypeVar("Number", bound=np.generic)

REFERENCE_PLASMA: Matrix = np.array([0.0085, 0.0002, 0.0079])
"""Optical density in red, green and blue of clear plasma: RGB (250, 255, 250).

This and the two below are means over the images of each class of the ALL set, then over classes.
"""

REFERENCE_STAINS: Matrix = np.array([[0.489, 0.872, -0.036], [0.797, 0.487, 0.357]])
"""Optical density above plasma, unit vectors: nucleated cells, red cells."""

REFERENCE_AMOUNTS: Matrix = np.array([0.420, 0.257])
"""99th percentile of the amount of each stain."""

_PLASMA_SHARE = 0.1
_MIN_DENSITY = 0.06
_EXTREME_PERCENT = 1.0
_MIN_FOREGROUND = 0.01
_MIN_ANGLE_DEGREES = 10.0


def to_grey(image: Pixels) -> Pixels:
    """Return the luma of each pixel on all three channels.

    Args:
        image: Shape (..., 3). The scale-bar mask turns grey with the rest.
    """
    luma = np.rint(image.astype(np.float64) @ LUMA)
    return np.repeat(luma.astype(np.uint8)[..., np.newaxis], 3, axis=-1)


def normalise_stain(image: Pixels) -> Pixels:
    """Return the field as if stained and lit like the mean field of the ALL set.

    The plasma's own colour is taken off first, so that it is what comes out white; then the two
    stains of the field, violet of nucleated and grey-blue of red cells, are found, and replaced by
    the reference's in direction and amount. A field in which no two stains can be told apart, an
    empty or a grey one, comes back as it was.

    Args:
        image: Shape (224, 224, 3). The scale-bar mask counts for nothing and is painted anew.

    Source: Macenko et al. 2009, IEEE ISBI, p. 1107.
    """
    density = optical_density(image).astype(np.float64)
    density -= _plasma(image)
    absorbers = _outside_mask(density)
    absorbers = absorbers[absorbers.mean(axis=1) > _MIN_DENSITY]
    if len(absorbers) < _MIN_FOREGROUND * density[..., 0].size:
        return mask_scale_bar(image)
    stains = _find_stains(absorbers)
    angle = np.degrees(np.arccos(np.clip(stains[0] @ stains[1], -1, 1)))
    if angle < _MIN_ANGLE_DEGREES:
        return mask_scale_bar(image)
    unmix = np.linalg.pinv(stains)
    strongest = np.percentile(absorbers @ unmix, 100 - _EXTREME_PERCENT, axis=0)
    amounts = np.maximum(density @ unmix, 0) / strongest * REFERENCE_AMOUNTS
    normalised = amounts @ REFERENCE_STAINS + REFERENCE_PLASMA
    return mask_scale_bar(from_optical_density(normalised.astype(np.float32)))


def _outside_mask(values: NDArray[Number]) -> NDArray[Number]:
    """The pixels outside the scale-bar corner, shape (n, 3)."""
    return np.concatenate(
        [values[:-MASK_SIZE].reshape(-1, 3), values[-MASK_SIZE:, :-MASK_SIZE].reshape(-1, 3)]
    )


def _plasma(image: Pixels) -> Matrix:
    """Optical density of the plasma: the median of the brightest tenth of the pixels."""
    pixels = _outside_mask(image)
    brightness = pixels.sum(axis=1, dtype=np.int32)
    brightest = pixels[brightness >= np.quantile(brightness, 1 - _PLASMA_SHARE)]
    return np.median(optical_density(brightest), axis=0).astype(np.float64)


def _find_stains(absorbers: Matrix) -> Matrix:
    """The two extreme directions in the plane of the densities: nucleated cells, red cells."""
    _, axes = np.linalg.eigh(absorbers.T @ absorbers)
    plane = axes[:, [2, 1]]
    plane *= np.where(plane.sum(axis=0) < 0, -1, 1)
    projected = absorbers @ plane
    angles = np.arctan2(projected[:, 1], projected[:, 0])
    extremes = np.percentile(angles, [_EXTREME_PERCENT, 100 - _EXTREME_PERCENT])
    stains = np.stack([np.cos(extremes), np.sin(extremes)], axis=1) @ plane.T
    # Violet lets more red through, and absorbs more green, than the red cells do.
    order = np.argsort(stains[:, 0] - stains[:, 1])
    ordered: Matrix = stains[order]
    return ordered
