"""The study's augmentation: horizontal flip, rotation, zoom and contrast.

Source: Aria et al. 2022 (doi 10.1002/int.22753): flip, rotation within 20 degrees, zoom and
contrast within 20 %. Its published code rotates by up to 72 degrees; this one does as it says.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from shared.imaging import INPUT_SIZE, Pixels
from shared.imaging.mask import mask_scale_bar

MAX_ROTATION_DEGREES = 20.0
MAX_ZOOM = 0.2
MAX_CONTRAST = 0.2
_PADDING = 96  # enough reflected border for the largest rotation at the smallest zoom


def augment(image: Pixels, rng: np.random.Generator, *, masked: bool = True) -> Pixels:
    """Return one random variant of a model input.

    Args:
        image: Shape (224, 224, 3); where `masked`, its scale bar is hidden already.
        rng: Source of the randomness; the same state gives the same variant.
        masked: Paint the mask anew afterwards, so that it stands where inference puts it.

    Returns:
        Shape (224, 224, 3).
    """
    if rng.random() < 0.5:
        image = image[:, ::-1]
    variant = _rotate_and_zoom(
        image,
        degrees=rng.uniform(-MAX_ROTATION_DEGREES, MAX_ROTATION_DEGREES),
        zoom=rng.uniform(1 - MAX_ZOOM, 1 + MAX_ZOOM),
    )
    variant = _change_contrast(variant, rng.uniform(1 - MAX_CONTRAST, 1 + MAX_CONTRAST))
    return mask_scale_bar(variant) if masked else variant


def _rotate_and_zoom(image: Pixels, *, degrees: float, zoom: float) -> Pixels:
    padded = np.pad(image, ((_PADDING, _PADDING), (_PADDING, _PADDING), (0, 0)), mode="reflect")
    centre = padded.shape[0] / 2
    half = INPUT_SIZE / 2
    cosine, sine = np.cos(np.radians(degrees)) / zoom, np.sin(np.radians(degrees)) / zoom
    matrix = (
        cosine, sine, centre - half * (cosine + sine),
        -sine, cosine, centre - half * (cosine - sine),
    )  # fmt: skip
    transformed = Image.fromarray(padded).transform(
        (INPUT_SIZE, INPUT_SIZE), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
    )
    return np.asarray(transformed, dtype=np.uint8)


def _change_contrast(image: Pixels, factor: float) -> Pixels:
    """Stretch each channel about its mean, as Keras' RandomContrast does."""
    values = image.astype(np.float32)
    mean = values.mean(axis=(0, 1), keepdims=True)
    stretched: Pixels = np.clip((values - mean) * factor + mean, 0, 255).round().astype(np.uint8)
    return stretched
