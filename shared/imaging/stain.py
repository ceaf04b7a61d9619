"""Stains as light absorbers: optical density, and its unmixing into haematoxylin, eosin and rest.

Light that passes a stain is absorbed by the law of Beer and Lambert, so that the optical density
-log10(I / I0) of a pixel is linear in the amount of each stain in it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.imaging import Pixels

Density = NDArray[np.float32]

STAIN_VECTORS: Density = np.array(
    [[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]], dtype=np.float32
)
"""Optical density in red, green and blue of haematoxylin, eosin and DAB, a row a stain.

Source: Ruifrok and Johnston 2001, Anal. Quant. Cytol. Histol. 23:291.
"""

_UNMIX: Density = np.linalg.inv(STAIN_VECTORS).astype(np.float32)
_DENSITY_OF_LEVEL: Density = -np.log10((np.arange(256, dtype=np.float32) + 1) / 256)


def optical_density(image: Pixels) -> Density:
    """Optical density of each channel, at least 0, same shape as the image."""
    return _DENSITY_OF_LEVEL[image]


def from_optical_density(density: Density) -> Pixels:
    """The image that has this optical density, rounded and clipped to 0..255."""
    levels = np.exp(density * np.float32(-np.log(10))) * 256 - 1
    image: Pixels = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return image


def shift_stains(image: Pixels, scale: Density, offset: Density) -> Pixels:
    """Change how much of each stain is seen, as between laboratories and batches.

    Args:
        image: Shape (..., 3).
        scale: Factor of each stain's amount, shape (3,); 1 changes nothing.
        offset: Added to each stain's amount, shape (3,); 0 changes nothing.

    Source: Tellez et al. 2018, IEEE Trans. Med. Imaging 37:2126.
    """
    # One 3x3 matrix: unmix, scale, mix again.
    matrix = (_UNMIX * scale) @ STAIN_VECTORS
    return from_optical_density(optical_density(image) @ matrix + offset @ STAIN_VECTORS)
