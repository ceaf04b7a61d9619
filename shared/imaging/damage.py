"""Finds damage in a JPEG that libjpeg paints over.

Of a part that it cannot read libjpeg makes up the pixels, and says so by a warning that Pillow does
not hear: a sector of zeros in the middle of a file is a grey band and a shifted rest of the field.
"""

from __future__ import annotations

import io
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import simplejpeg

from shared.errors import CorruptImageError, UnsupportedPixelFormatError

_HELD_BYTES = 256 * 1024
_SUBSAMPLINGS = [{(1, 1)}, {(2, 1)}, {(1, 2)}, {(2, 2)}, {(4, 1)}, {(1, 4)}]
"""Luma samples to one of chroma, across and down, that TurboJPEG knows."""


def refuse_unknown_chroma(components: list[tuple[int, int, int, int]]) -> None:
    """Refuse a JPEG that cannot be looked through, and may be whole: no camera writes such.

    Args:
        components: Id, sampling factors across and down, and quantisation table of each.

    Raises:
        UnsupportedPixelFormatError: Its chroma is subsampled in another way.
    """
    (_, across, down, _), *chroma = components
    if {(across / x, down / y) for _, x, y, _ in chroma} not in _SUBSAMPLINGS:
        raise UnsupportedPixelFormatError("Its chroma is subsampled in an unusual way.")


def refuse_damaged(source: BinaryIO) -> None:
    """Refuse a JPEG of which any part cannot be read as it was written.

    It is decoded at an eighth of its size, for which every coefficient is read all the same.

    Args:
        source: A JPEG whose size in pixels is within the limits; a seekable stream.

    Raises:
        CorruptImageError: Its coded data is damaged, or ends too early.
    """
    with _whole(source) as data:
        try:
            simplejpeg.decode_jpeg(data, min_height=1, min_width=1, strict=True)
        except ValueError as error:
            raise CorruptImageError(str(error)) from error


@contextmanager
def _whole(source: BinaryIO) -> Iterator[bytes | mmap.mmap]:
    """All bytes of a file; a large one lies on the disk and is not copied into memory."""
    size = source.seek(0, io.SEEK_END)
    source.seek(0)
    if size <= _HELD_BYTES or isinstance(source, io.BytesIO):
        yield source.read()
        return
    with mmap.mmap(source.fileno(), size, access=mmap.ACCESS_READ) as data:
        yield data
