"""Hides the burnt-in scale bar, so that no model ever sees it.

Every field of the training data carries a scale bar in its lower right corner, in three styles,
and the style alone tells the class in 55 % of the images. The bar starts at row 193 and column
193 of 224 at the earliest; the mask takes a margin of nine pixels around it. Images without a bar
are masked too, so that its absence tells nothing either.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.imaging import INPUT_SIZE, Pixels

MASK_SIZE = 40
"""Height and width, in pixels of a 224x224 image, of the masked lower right corner."""

MASK_COLOUR = (236, 244, 245)
"""RGB of the mask: the plasma between the cells, one constant for every image.

Measured as the mean of those pixels of the data set whose three channels all exceed 200.
"""


def visible_pixels() -> NDArray[np.bool_]:
    """The pixels of an image that any model sees, shape (224, 224)."""
    visible = np.ones((INPUT_SIZE, INPUT_SIZE), dtype=bool)
    visible[-MASK_SIZE:, -MASK_SIZE:] = False
    return visible


def mask_scale_bar(images: Pixels) -> Pixels:
    """Return a copy with the scale-bar corner painted over.

    Args:
        images: Shape (..., 224, 224, 3).

    Raises:
        ValueError: The images are of another size.
    """
    if images.shape[-3:] != (INPUT_SIZE, INPUT_SIZE, 3):
        raise ValueError(f"expected shape (..., 224, 224, 3), received: {images.shape}")
    masked = images.copy()
    masked[..., -MASK_SIZE:, -MASK_SIZE:, :] = MASK_COLOUR
    return masked
