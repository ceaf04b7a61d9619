"""The one decoder and the one resizer.

JPEG decoders differ (fast DCT, chroma upsampling) and resizers differ (antialiasing), so trainer,
worker and command line all come through here: identical pixels in, identical probabilities out.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from shared.errors import (
    AnimatedImageError,
    CorruptImageError,
    EmptyFileError,
    ImageTooLargeError,
    ImageTooSmallError,
    RotatedImageError,
    UnsupportedMediaTypeError,
    UnsupportedPixelFormatError,
)
from shared.imaging import INPUT_SIZE, Pixels
from shared.imaging.mask import mask_scale_bar

MEDIA_TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "TIFF": "image/tiff",
    "BMP": "image/bmp",
    "WEBP": "image/webp",
}
"""Pillow's format names of what is accepted, with their media types."""

MIN_SIDE = 32
"""Shortest side, in pixels, of an accepted image; below it no cell can be told from another."""

REDUCED_SIDE = 2 * INPUT_SIZE
"""Shortest side, in pixels, that a JPEG is reduced to while it is decoded."""

_UPRIGHT = 1
_COLOUR_MODES = {"RGB", "RGBA", "P"}
_BITS_PER_SAMPLE_TAG = 258
_DEEP = 16


class Decoded(NamedTuple):
    """An image in mode RGB; width and height in pixels are those of the file."""

    image: Image.Image
    media_type: str
    width: int
    height: int


def decode_image(source: BinaryIO, *, max_pixels: int, reduced: bool = False) -> Decoded:
    """Decode one smear image completely.

    Args:
        source: A seekable stream, read from its beginning.
        max_pixels: Largest width x height that is decoded; a larger image is refused by its
            header, before any pixel is read.
        reduced: Decode a large JPEG at a half, a quarter or an eighth of its size, with at least
            `REDUCED_SIDE` pixels a side. It is for `resize`, whose result then differs by at most 4
            of 255 in any pixel.

    Raises:
        ImageError: One of its subclasses says what is wrong with the file.
    """
    source.seek(0)
    if not source.read(1):
        raise EmptyFileError
    source.seek(0)
    image = _open(source)
    with image:
        _refuse_unusable(image, source, max_pixels)
        width, height = image.size
        if reduced:
            image.draft(image.mode, (REDUCED_SIDE, REDUCED_SIDE))  # only JPEG knows it
        return Decoded(_read_pixels(image), MEDIA_TYPES[str(image.format)], width, height)


def _open(source: BinaryIO) -> Image.Image:
    try:
        with warnings.catch_warnings():
            # The pixel limit below is ours and is stated in the error.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(source, formats=list(MEDIA_TYPES))
    except Image.DecompressionBombError as error:
        raise ImageTooLargeError(str(error)) from error
    except UnidentifiedImageError as error:
        raise UnsupportedMediaTypeError from error
    except (OSError, SyntaxError, ValueError) as error:
        raise CorruptImageError(str(error)) from error


def _refuse_unusable(image: Image.Image, source: BinaryIO, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise ImageTooLargeError(f"{width}x{height} is more than {max_pixels} pixels.")
    if min(width, height) < MIN_SIDE:
        raise ImageTooSmallError(f"{width}x{height}; the shortest side must have {MIN_SIDE}.")
    if getattr(image, "n_frames", 1) > 1:
        raise AnimatedImageError
    if image.mode not in _COLOUR_MODES or _has_16_bit_samples(image, source):
        raise UnsupportedPixelFormatError(f"The image's pixel format is {image.mode}.")
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, _UPRIGHT)
    except (OSError, SyntaxError, ValueError) as error:
        raise CorruptImageError("The EXIF data is damaged.") from error
    if orientation != _UPRIGHT:
        raise RotatedImageError(f"Its EXIF orientation is {orientation}.")


def _has_16_bit_samples(image: Image.Image, source: BinaryIO) -> bool:
    """Tell 16-bit colour, which Pillow would quietly read as 8-bit."""
    if image.format == "PNG":
        return _png_bit_depth(source) == _DEEP
    if image.format == "TIFF":
        bits = image.tag_v2.get(_BITS_PER_SAMPLE_TAG, (8,))  # type: ignore[attr-defined]
        return any(bit > 8 for bit in bits)
    return False


def _png_bit_depth(source: BinaryIO) -> int:
    """The bit depth is byte 24 of every PNG: signature, length, IHDR, width, height, depth."""
    position = source.tell()
    source.seek(24)
    depth = source.read(1)
    source.seek(position)
    return depth[0]


def _read_pixels(image: Image.Image) -> Image.Image:
    try:
        image.load()
        return image if image.mode == "RGB" else image.convert("RGB")
    except Image.DecompressionBombError as error:
        raise ImageTooLargeError(str(error)) from error
    except (OSError, SyntaxError, ValueError, IndexError, EOFError) as error:
        raise CorruptImageError(str(error)) from error


def to_model_input(image: Image.Image) -> Pixels:
    """Resize to what every model takes, and hide the scale bar.

    The whole field is kept: an image that is not square is squeezed, as the training data was.

    Returns:
        Shape (224, 224, 3), uint8 RGB.
    """
    return mask_scale_bar(resize(image))


def resize(image: Image.Image) -> Pixels:
    """Resize to (224, 224, 3) by Pillow's antialiased bilinear filter; 224x224 stays as it is."""
    if image.size != (INPUT_SIZE, INPUT_SIZE):
        image = image.resize((INPUT_SIZE, INPUT_SIZE), Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.uint8)


def load_resized(path: Path, *, max_pixels: int) -> Pixels:
    """Read a file at model size with its scale bar left in, shape (224, 224, 3).

    Only for the reproduction of published figures; nothing that is shipped sees such pixels.

    Raises:
        ImageError: The file is no usable image.
    """
    decoded = decode_image(io.BytesIO(path.read_bytes()), max_pixels=max_pixels, reduced=True)
    return resize(decoded.image)


def load_model_input(path: Path, *, max_pixels: int) -> Pixels:
    """Read a file as a model sees it, shape (224, 224, 3).

    Raises:
        ImageError: The file is no usable image.
    """
    return mask_scale_bar(load_resized(path, max_pixels=max_pixels))
