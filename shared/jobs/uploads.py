"""Checks images on their way in: hashed, and decoded once."""

from __future__ import annotations

import hashlib
from tempfile import SpooledTemporaryFile
from typing import IO, BinaryIO, cast

from shared.errors import EmptyFileError, PayloadTooLargeError
from shared.imaging.decode import check_image
from shared.jobs.submit import Upload
from shared.settings import Settings

SPOOL_BYTES = 256 * 1024
"""No more of a file than this is held in memory."""

_CHUNK = 64 * 1024


def spool() -> IO[bytes]:
    """A temporary file that stays in memory while it is small."""
    return cast("IO[bytes]", SpooledTemporaryFile(max_size=SPOOL_BYTES))


def check_upload(stream: BinaryIO, settings: Settings, *, max_bytes: int | None = None) -> Upload:
    """Hash and decode one file.

    Args:
        stream: The file, seekable.
        settings: The limits.
        max_bytes: Largest size, where it is not `settings.max_file_bytes`.

    Raises:
        PayloadTooLargeError: The file has too many bytes.
        ImageError: The file is no usable image.
    """
    stream.seek(0)
    digest = hashlib.sha256()
    size = 0
    while chunk := stream.read(_CHUNK):
        digest.update(chunk)
        size += len(chunk)
    if size == 0:
        raise EmptyFileError
    limit = max_bytes or settings.max_file_bytes
    if size > limit:
        raise PayloadTooLargeError(f"{size} bytes; at most {limit} a file.")
    checked = check_image(stream, max_pixels=settings.max_pixels)
    return Upload(
        stream=stream,
        sha256=digest.hexdigest(),
        media_type=checked.media_type,
        bytes=size,
        width=checked.width,
        height=checked.height,
    )
