"""The one decoder and the one resizer.

JPEG decoders differ (fast DCT, chroma upsampling) and resizers differ (antialiasing), so trainer,
worker and command line all come through here: identical pixels in, identical probabilities out.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from shared.errors import (
    AnimatedImageError,
    CorruptImageError,
    EmptyFileError,
    HemotriageError,
    ImageTooComplexError,
    ImageTooLargeError,
    ImageTooSmallError,
    RotatedImageError,
    UnsupportedMediaTypeError,
    UnsupportedPixelFormatError,
)
from shared.frugal import Frugal
from shared.imaging import INPUT_SIZE, Pixels
from shared.imaging.damage import refuse_damaged, refuse_unknown_chroma
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

MAX_SCANS = 100
"""Scans of an accepted JPEG, as in libtiff. Progressive ones of cameras and editors have about 10;
each is a pass over all pixels that takes some 75 bytes of a file."""

_TIMES_READ = 4  # bytes that the decoders read of each one in a file; they read most once
_HEADS_BYTES = 1024**2  # what heads cost besides, in a small file
_CHUNK = 1024**2
_START_OF_SCAN = b"\xff\xda"  # ITU-T T.81 table B.1; within coded data 0xff is followed by 0
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*")
_SIGNATURE_BYTES = 8
_UPRIGHT = 1
_OPAQUE = 255
_COLOUR_MODES = {"RGB", "RGBA", "P"}
_BITS_PER_SAMPLE_TAG = 258
_TILE_SIDE_TAGS = (322, 323)
_DEEP = 16


class Decoded(NamedTuple):
    """An image in mode RGB; width and height in pixels are those of the file."""

    image: Image.Image
    media_type: str
    width: int
    height: int


class Checked(NamedTuple):
    """What is known of an image whose pixels were not kept; width and height are in pixels."""

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
            of 255 in any pixel of a smear, and by at most 20 along a hard edge, such as that of a
            microscope's aperture.

    Raises:
        ImageError: One of its subclasses says what is wrong with the file.
    """
    with _usable(source, max_pixels) as image:
        width, height = image.size
        if reduced:
            image.draft(image.mode, (REDUCED_SIDE, REDUCED_SIDE))  # only JPEG knows it
        media_type = MEDIA_TYPES[str(image.format)]
        _load(image)
        return Decoded(
            image if image.mode == "RGB" else image.convert("RGB"), media_type, width, height
        )


def check_image(source: BinaryIO, *, max_pixels: int) -> Checked:
    """Refuse what `decode_image` would refuse, at the least cost; its pixels are not wanted.

    A JPEG is reduced as far as libjpeg can, to an eighth: it reads every coefficient all the same.
    Of damage that libjpeg paints over with a warning, which Pillow does not hear, nothing is taken.

    Args:
        source: A seekable stream, read from its beginning.
        max_pixels: Largest width x height that is taken.

    Raises:
        ImageError: One of its subclasses says what is wrong with the file.
    """
    with _usable(source, max_pixels) as image:
        width, height = image.size
        if image.format == "JPEG":
            refuse_unknown_chroma(image.layer)  # type: ignore[attr-defined]
            refuse_damaged(source)
        else:
            _load(image)
        return Checked(MEDIA_TYPES[str(image.format)], width, height)


@contextmanager
def _usable(source: BinaryIO, max_pixels: int) -> Iterator[Image.Image]:
    """The image by its head, within whose block the rest is read."""
    size = source.seek(0, io.SEEK_END)
    if size == 0:
        raise EmptyFileError
    source.seek(0)
    frugal = cast(
        "BinaryIO",
        Frugal(
            source,
            most_bytes=_TIMES_READ * size + _HEADS_BYTES,
            too_long=ImageTooComplexError("Its parts are read again and again."),
            too_many=ImageTooComplexError("It is read in too many pieces."),
        ),
    )
    with _damage_told(source), _open(frugal, max_pixels) as image:
        _refuse_unusable(image, source, max_pixels)
        yield image


@contextmanager
def _damage_told(source: BinaryIO) -> Iterator[None]:
    """Whatever the decoders raise for a hostile file is the file's fault."""
    try:
        yield
    except (HemotriageError, MemoryError):  # want of memory may be the machine's fault
        raise
    except UnidentifiedImageError as error:
        source.seek(0)
        if source.read(_SIGNATURE_BYTES).startswith(_SIGNATURES):
            raise CorruptImageError(
                "Its beginning tells its type, and the rest is missing."
            ) from error
        raise UnsupportedMediaTypeError from error
    except Exception as error:
        raise CorruptImageError(str(error)) from error


def _open(source: BinaryIO, max_pixels: int) -> Image.Image:
    with warnings.catch_warnings():
        # The limit of pixels is ours and is stated in the error, and so is what is damaged.
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            return Image.open(source, formats=list(MEDIA_TYPES))
        except Image.DecompressionBombError as error:
            raise ImageTooLargeError(f"It has more than {max_pixels} pixels.") from error


def _refuse_unusable(image: Image.Image, source: BinaryIO, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise ImageTooLargeError(f"{width}x{height} is more than {max_pixels} pixels.")
    if min(width, height) < MIN_SIDE:
        raise ImageTooSmallError(f"{width}x{height}; the shortest side must have {MIN_SIDE}.")
    if getattr(image, "n_frames", 1) > 1:
        raise AnimatedImageError
    if image.mode not in _COLOUR_MODES:
        raise UnsupportedPixelFormatError(f"The image's pixel format is {image.mode}.")
    if _has_16_bit_samples(image, source):
        raise UnsupportedPixelFormatError("The image has 16 bits a sample.")
    if image.format == "TIFF" and _tile_pixels(image) > max_pixels:
        raise ImageTooLargeError(f"A tile of it has more than {max_pixels} pixels.")
    if image.format == "JPEG" and _scans(source) > MAX_SCANS:
        raise ImageTooComplexError(f"It has more than {MAX_SCANS} scans.")
    orientation = image.getexif().get(ExifTags.Base.Orientation, _UPRIGHT)
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


def _tile_pixels(image: Image.Image) -> int:
    """Pixels of a TIFF's tile, which is decoded whole, however small the image is; else 0."""
    tags = image.tag_v2  # type: ignore[attr-defined]
    width, height = (int(tags.get(tag, 0)) for tag in _TILE_SIDE_TAGS)
    return width * height


def _png_bit_depth(source: BinaryIO) -> int:
    """The bit depth is byte 24 of every PNG: signature, length, IHDR, width, height, depth."""
    position = source.tell()
    source.seek(24)
    depth = source.read(1)
    source.seek(position)
    return depth[0]


def _scans(source: BinaryIO) -> int:
    """Scans of a JPEG, and those of thumbnails within it; one that a piece cuts is not counted."""
    position = source.tell()
    source.seek(0)
    found = 0
    while chunk := source.read(_CHUNK):
        found += chunk.count(_START_OF_SCAN)
    source.seek(position)
    return found


def _load(image: Image.Image) -> None:
    """Read all pixels, every one of which must be opaque, and of a palette that is whole."""
    image.load()
    if image.mode == "P":
        image.convert("RGB")
    if not image.has_transparency_data:
        return
    seen = image if image.mode == "RGBA" else image.convert("RGBA")
    least, _ = cast("tuple[int, int]", seen.getchannel("A").getextrema())
    if least < _OPAQUE:
        raise UnsupportedPixelFormatError("A part of the image is transparent.")


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
    source = io.BytesIO(path.read_bytes())
    check_image(source, max_pixels=max_pixels)  # nobody else has
    decoded = decode_image(source, max_pixels=max_pixels, reduced=True)
    return resize(decoded.image)


def load_model_input(path: Path, *, max_pixels: int) -> Pixels:
    """Read a file as a model sees it, shape (224, 224, 3).

    Raises:
        ImageError: The file is no usable image.
    """
    return mask_scale_bar(load_resized(path, max_pixels=max_pixels))
