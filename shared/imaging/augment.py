"""Augmentation for training: the study's, and one that also takes the ease out of colour.

Sources: Aria et al. 2022 (doi 10.1002/int.22753) for the study's: flip, rotation within 20 degrees,
zoom and contrast within 20 %. Its published code rotates by up to 72 degrees; this one does as it
says. Tellez et al. 2019, Med. Image Anal. 58:101544, for jitter of stain and colour.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from enum import StrEnum
from types import MappingProxyType

import numpy as np
from PIL import Image, ImageFilter

from shared.imaging import INPUT_SIZE, Pixels
from shared.imaging.colour import GREY_AXIS, rotation, saturation, to_pixels
from shared.imaging.mask import mask_scale_bar
from shared.imaging.stain import shift_stains

MAX_ROTATION_DEGREES = 20.0
MAX_ZOOM = 0.2
MAX_CONTRAST = 0.2
MAX_HUE_DEGREES = 28.8
_PADDING = 96  # enough reflected border for the largest rotation at the smallest zoom


class Augmentation(StrEnum):
    """A family of random variants of a training image."""

    STUDY = "study"  # geometry and contrast, as published
    TURNED = "turned"  # the same of a field that has no upright
    ROBUST = "robust"  # geometry, stain, colour, illumination, focus and compression


def augment(
    image: Pixels,
    rng: np.random.Generator,
    kind: Augmentation = Augmentation.STUDY,
    *,
    masked: bool = True,
) -> Pixels:
    """Return one random variant of a model input.

    Args:
        image: Shape (224, 224, 3); where `masked`, its scale bar is hidden already.
        rng: Source of the randomness; the same state gives the same variant.
        kind: Which family the variant is of.
        masked: Paint the mask anew afterwards, so that it stands where inference puts it.

    Returns:
        Shape (224, 224, 3).
    """
    variant = _FAMILIES[kind](image, rng)
    return mask_scale_bar(variant) if masked else variant


def _study_variant(image: Pixels, rng: np.random.Generator) -> Pixels:
    if rng.random() < 0.5:
        image = image[:, ::-1]
    variant = _rotate_and_zoom(
        image,
        degrees=rng.uniform(-MAX_ROTATION_DEGREES, MAX_ROTATION_DEGREES),
        zoom=rng.uniform(1 - MAX_ZOOM, 1 + MAX_ZOOM),
    )
    return _change_contrast(variant, rng.uniform(1 - MAX_CONTRAST, 1 + MAX_CONTRAST))


def _turned_variant(image: Pixels, rng: np.random.Generator) -> Pixels:
    return _study_variant(np.rot90(image, int(rng.integers(4))), rng)


def _robust_variant(image: Pixels, rng: np.random.Generator) -> Pixels:
    """A smear has no upright: any flip and quarter turn is as good a field as the first."""
    image = np.rot90(image, int(rng.integers(4)))
    if rng.random() < 0.5:
        image = image[:, ::-1]
    if rng.random() < 0.3:
        image = _rotate_and_zoom(image, degrees=rng.uniform(-45, 45), zoom=rng.uniform(0.85, 1.15))
    if rng.random() < 0.5:
        image = _jitter_stain(image, rng)
    if rng.random() < 0.5:
        image = _jitter_colour(image, rng)
    if rng.random() < 0.4:
        image = _degrade(image, rng)
    return np.ascontiguousarray(image)


_FAMILIES: Mapping[Augmentation, Callable[[Pixels, np.random.Generator], Pixels]] = (
    MappingProxyType(
        {
            Augmentation.STUDY: _study_variant,
            Augmentation.TURNED: _turned_variant,
            Augmentation.ROBUST: _robust_variant,
        }
    )
)


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
    return to_pixels((values - mean) * factor + mean)


def _jitter_stain(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Another amount of each stain, as from another batch or laboratory."""
    scale = rng.uniform(0.75, 1.25, 3).astype(np.float32)
    offset = rng.uniform(-0.03, 0.03, 3).astype(np.float32)
    return shift_stains(image, scale, offset)


def _jitter_colour(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Another lamp, camera and white balance: hue, saturation, gain, offset, uneven light."""
    turned = rotation(GREY_AXIS, rng.uniform(-MAX_HUE_DEGREES, MAX_HUE_DEGREES))
    matrix = (saturation(rng.uniform(0.6, 1.4)) @ turned).astype(np.float32)
    gains = rng.uniform(0.88, 1.12, 3).astype(np.float32) * np.float32(rng.uniform(0.85, 1.15))
    values = image.astype(np.float32) @ (matrix * gains)
    values += np.float32(rng.uniform(-12, 12))
    if rng.random() < 0.3:
        ramp = np.linspace(-1, 1, INPUT_SIZE, dtype=np.float32)[:, None, None]
        values *= 1 + np.float32(rng.uniform(-0.15, 0.15)) * ramp
        values *= 1 + np.float32(rng.uniform(-0.15, 0.15)) * ramp.transpose(1, 0, 2)
    return to_pixels(values)


def _degrade(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Out of focus, compressed, or both."""
    picture = Image.fromarray(np.ascontiguousarray(image))
    if rng.random() < 0.6:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 1.6)))
    if rng.random() < 0.6:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=int(rng.integers(25, 95)))
        picture = Image.open(file)
    return np.asarray(picture, dtype=np.uint8)
