"""Cividis: a scale of colours that also people with a colour-vision deficiency read.

From dark blue over grey to yellow, lightness and blueness both rise evenly, with and without
deuteranomaly. Here it is a table, since what draws plots is not in the worker's image.

Source: Nuñez, Anderton and Renslow 2018, PLoS ONE 13:e0199239 (doi 10.1371/journal.pone.0199239).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.imaging import Pixels
from shared.imaging.colour import to_pixels

_ANCHORS = np.array(
    [
        (0, 0, 34, 78),
        (17, 0, 46, 108),
        (22, 0, 49, 113),
        (23, 1, 50, 113),
        (28, 18, 53, 112),
        (35, 32, 58, 111),
        (53, 56, 71, 108),
        (86, 88, 94, 109),
        (110, 109, 111, 114),
        (125, 122, 122, 120),
        (152, 147, 142, 120),
        (175, 170, 160, 115),
        (203, 199, 183, 103),
        (224, 222, 201, 88),
        (234, 233, 211, 78),
        (246, 247, 222, 62),
        (251, 253, 227, 52),
        (255, 254, 232, 56),
    ]
)
"""Level and RGB: where the scale bends. Between them it is straight, to 2 of 255."""

CIVIDIS: Pixels = to_pixels(
    np.stack([np.interp(np.arange(256), _ANCHORS[:, 0], channel) for channel in _ANCHORS[:, 1:].T])
).T
"""RGB of the levels 0 to 255, shape (256, 3)."""


def coloured(values: NDArray[np.floating[Any]]) -> Pixels:
    """Colours of values within [0, 1], shape (...) to (..., 3)."""
    pixels: Pixels = CIVIDIS[np.rint(values * 255).astype(np.intp)]
    return pixels
