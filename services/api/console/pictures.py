"""Images as a browser and a PDF can show them."""

from __future__ import annotations

import io

from PIL import Image

from services.api.context import context
from services.api.explaining import picture
from services.api.uploads import decoding
from shared.explanations.overlay import overlay_in
from shared.explanations.states import ExplanationState
from shared.imaging.decode import decode_image
from shared.jobs.entities import JobImage
from shared.jobs.images import read_bytes

PNG, JPEG = "image/png", "image/jpeg"

THUMB_SIDE, PRINTED_SIDE = 160, 1200
"""Longest sides, in pixels, of a thumbnail and of an image on paper."""

_SHOWN_BY_BROWSERS = (JPEG, PNG, "image/webp", "image/bmp")
_QUALITY = 88


def as_shown(image: JobImage) -> tuple[bytes, str]:
    """An image of a job and its media type: as it came, or as PNG where browsers show none such.

    Raises:
        ObjectMissingError: The store has lost it.
    """
    data = read_bytes(context().storage, image)
    if image.media_type in _SHOWN_BY_BROWSERS:
        return data, image.media_type
    return decoding(_as_png, data, context().settings.max_pixels), PNG


def reduced(image: JobImage, side: int) -> bytes:
    """An image of a job as a JPEG whose longest side has at most so many pixels.

    Raises:
        ObjectMissingError: The store has lost it.
    """
    data = read_bytes(context().storage, image)
    return decoding(_as_jpeg, data, context().settings.max_pixels, side)


def overlay(state: ExplanationState, image: JobImage) -> bytes:
    """What lights up in an image, as a PNG of its shape, out of an explanation that succeeded.

    Raises:
        ObjectMissingError: The store has lost the explanation.
    """
    return decoding(_overlay, picture(state), (image.width, image.height))


def _as_png(data: bytes, max_pixels: int) -> bytes:
    return _encoded(decode_image(io.BytesIO(data), max_pixels=max_pixels).image, "PNG")


def _as_jpeg(data: bytes, max_pixels: int, side: int) -> bytes:
    is_small = side <= THUMB_SIDE
    image = decode_image(io.BytesIO(data), max_pixels=max_pixels, reduced=is_small).image
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return _encoded(image, "JPEG", quality=_QUALITY)


def _overlay(data: bytes, field: tuple[int, int]) -> bytes:
    with Image.open(io.BytesIO(data), formats=["PNG"]) as whole:
        return _encoded(overlay_in(whole, field), "PNG")


def _encoded(image: Image.Image, form: str, **options: int) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()
