"""Takes uploaded images: spooled to disk, hashed, and checked by decoding them.

No more of a file than `SPOOL_BYTES` is held in memory. Whether it is an image, and which, is told
by its bytes; its name and its stated type are not looked at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from tempfile import SpooledTemporaryFile
from typing import IO, BinaryIO, cast

from flask import Request, request

from shared.errors import (
    BadRequestError,
    EmptyFileError,
    PayloadTooLargeError,
    TooManyFilesError,
    UnsupportedMediaTypeError,
)
from shared.imaging.decode import decode_image
from shared.jobs.submit import Upload
from shared.settings import Settings

SPOOL_BYTES = 256 * 1024
_CHUNK = 64 * 1024
_FORM = "multipart/form-data"


class NoImageError(BadRequestError):
    """Send one or more files in the form field `image`, and in no other."""

    code = "no_image"


class SpoolingRequest(Request):
    """A request whose uploaded files go to disk beyond a small size."""

    def _get_file_stream(self, *_: object, **__: object) -> IO[bytes]:
        return spool()


def spool() -> IO[bytes]:
    """A temporary file that stays in memory while it is small."""
    return cast("IO[bytes]", SpooledTemporaryFile(max_size=SPOOL_BYTES))


def is_form() -> bool:
    """Whether the running request is a form, and not an image by itself."""
    return request.mimetype == _FORM


@contextmanager
def uploaded_streams(settings: Settings) -> Iterator[list[BinaryIO]]:
    """The files of the running request; they are closed in the end.

    Raises:
        NoImageError: There is none, or a file is in another field, where it would be lost.
        TooManyFilesError: There are more than the limit.
        UnsupportedMediaTypeError: The request is no form, and its type is none of an image.
    """
    with ExitStack() as stack:
        if is_form():
            for file in chain.from_iterable(request.files.listvalues()):
                stack.callback(file.close)
            if unknown := sorted(set(request.files) - {"image"}):
                raise NoImageError(f"There are files in other fields: {', '.join(unknown)}.")
            files = request.files.getlist("image")
            if not files:
                raise NoImageError
            if len(files) > settings.max_files:
                raise TooManyFilesError(f"{len(files)} images; at most {settings.max_files}.")
            yield [cast(BinaryIO, file.stream) for file in files]
        else:
            yield [cast(BinaryIO, stack.enter_context(_raw_body()))]


def _raw_body() -> IO[bytes]:
    if not request.mimetype.startswith("image/"):
        raise UnsupportedMediaTypeError(
            f"The request's content type is {request.mimetype or 'not given'}; "
            "expected multipart/form-data or an image type."
        )
    body = spool()
    while chunk := request.stream.read(_CHUNK):
        body.write(chunk)
    return body


def check_upload(stream: BinaryIO, settings: Settings) -> Upload:
    """Hash and decode one file.

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
    if size > settings.max_file_bytes:
        raise PayloadTooLargeError(f"{size} bytes; at most {settings.max_file_bytes} a file.")
    decoded = decode_image(stream, max_pixels=settings.max_pixels, reduced=True)
    return Upload(
        stream=stream,
        sha256=digest.hexdigest(),
        media_type=decoded.media_type,
        bytes=size,
        width=decoded.width,
        height=decoded.height,
    )
