"""The authors' second data representation: nucleated cells kept, everything else black.

The authors of the ALL set segment its fields by thresholds of colour in HSV, pixel by pixel, with
no clean-up of holes or specks afterwards. Their published thresholds, `cv2.inRange` from
(168, 50, 50) to (182, 255, 255), are taken on an image whose red and blue channels are swapped.
Swapped back, they say: hue from 241 to 265 degrees, saturation and value from 50 of 255.

All but the upper bound of the hue are kept. It was chosen on a Benign field, and cuts the pink
cells of the Pro-B fields down to rings, less than a fifth of their area. Here the hue may go on to
300 degrees (magenta), the same for every class. Measured on every fourth image of the set, the two
masks overlap (intersection over union) by 0.87 in Benign, 0.99 in Early, 1.00 in Pre and 0.19 in
Pro-B fields.

Source: Ghaderzadeh, Aria et al. 2022 (doi 10.1002/int.22753) and its code,
github.com/MehradAria/ALL-Subtype-Classification.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.imaging import Pixels
from shared.imaging.mask import MASK_COLOUR, visible_pixels

LOWEST_HUE = 241
"""In degrees: the violet border to the blue-grey of the red cells."""

MIN_SATURATION = 50
"""Of 255, as OpenCV counts it: above plasma and red cells, below pale cytoplasm."""

MIN_VALUE = 50
"""Of 255: above soot and pigment, which are black."""

_BLUE_HUE, _SECTOR = 240, 60


def cell_mask(image: Pixels) -> NDArray[np.bool_]:
    """Tell which pixels are stained nucleus or cytoplasm.

    Args:
        image: Shape (..., height, width, 3). The colour of the scale-bar mask is background.

    Returns:
        Shape (..., height, width).
    """
    red, green, blue = np.moveaxis(image, -1, 0).astype(np.int32, order="C")
    # From 240 to 300 degrees blue is the largest channel (the value) and green the smallest.
    chroma = blue - green
    is_violet = (red <= blue) & (
        _SECTOR * (red - green) >= (LOWEST_HUE - _BLUE_HUE) * np.maximum(chroma, 1)
    )
    # OpenCV rounds a saturation of 49.5 up to 50.
    is_saturated = 255 * 2 * chroma >= (2 * MIN_SATURATION - 1) * blue
    mask: NDArray[np.bool_] = is_violet & is_saturated & (blue >= MIN_VALUE)
    return mask


def background_colour(image: Pixels) -> Pixels:
    """The median colour of what lies between the stained cells of a field.

    Args:
        image: A model's input, shape (224, 224, 3); the corner of the scale bar does not count.

    Returns:
        Shape (3,); of a field that is cell all over, the colour of the scale-bar mask.
    """
    between = visible_pixels() & ~cell_mask(image)
    if not between.any():
        return np.array(MASK_COLOUR, dtype=np.uint8)
    median: Pixels = np.median(image[between], axis=0).astype(np.uint8)
    return median


def segment(image: Pixels) -> Pixels:
    """Return a copy in which everything but the nucleated cells is black.

    Args:
        image: Shape (..., height, width, 3).
    """
    return np.where(cell_mask(image)[..., np.newaxis], image, np.uint8(0))
