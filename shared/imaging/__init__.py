"""Pixels: the one path from an image file to what a model sees, for training and for inference."""

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
"""An image or a batch of images, uint8 RGB, shape (..., height, width, 3)."""

INPUT_SIZE = 224
"""Height and width, in pixels, of what every model takes."""
