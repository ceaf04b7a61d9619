"""Takes uploaded images: spooled to disk, hashed, and checked by decoding them.

Whether it is an image, and which, is told
by its bytes; its name and its stated type are not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from typing import IO, BinaryIO, NamedTuple, TypeVar, cast

from flask import Request, request
from gevent import get_hub

from services.api.context import context
from services.api.fields import SentOnce, refuse_query
from shared.errors import (
    BadRequestError,
    TooManyFilesError,
    UnsupportedMediaTypeError,
)
from shared.interop.dicom.frames import uploads_of
from shared.interop.dicom.read import Inflation, Instance, is_dicom, read_instance
from shared.jobs.submit import Upload
from shared.jobs.uploads import SPOOL_BYTES, check_upload, spool  # noqa: F401 - one place to import from
from shared.settings import Settings

DICOM = "application/dicom"

T = TypeVar("T")

_CHUNK = 64 * 1024
_FORM = "multipart/form-data"


class NoImageError(BadRequestError):
    """Send one or more files in the form field `image`, and in no other."""

    code = "no_image"


class Taken(NamedTuple):
    """The checked images of one file, and its header where it was DICOM."""

    uploads: list[Upload]
    instance: Instance | None


class SpoolingRequest(Request):
    """A request whose uploaded files go to disk beyond a small size."""

    parameter_storage_class = SentOnce

    def _get_file_stream(self, *_: object, **__: object) -> IO[bytes]:
        return spool()


def is_form() -> bool:
    """Whether the running request is a form, and not an image by itself."""
    return request.mimetype == _FORM


def sent_fields() -> dict[str, str]:
    """What the running request says besides its files: a form has it, else the query.

    Raises:
        FieldError: A field was sent more than once, or in the query of a form.
    """
    if is_form():
        refuse_query("the form")
        return request.form.to_dict()
    return request.args.to_dict()


@contextmanager
def uploaded_streams(settings: Settings) -> Iterator[list[BinaryIO]]:
    """The files of the running request; they are closed in the end.

    Raises:
        NoImageError: There is none, or a file is in another field, where it would be lost.
        TooManyFilesError: There are more than the limit.
        UnsupportedMediaTypeError: The request is no form, and its type is not taken.
    """
    with ExitStack() as stack:
        if is_form():
            for file in chain.from_iterable(request.files.listvalues()):
                stack.callback(file.close)
            # A part without a name is a file all the same.
            if unknown := sorted(str(name) for name in set(request.files) - {"image"}):
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
    if not request.mimetype.startswith("image/") and request.mimetype != DICOM:
        raise UnsupportedMediaTypeError(
            f"The request's content type is {request.mimetype or 'not given'}; "
            f"expected multipart/form-data, an image type or {DICOM}."
        )
    body = spool()
    while chunk := request.stream.read(_CHUNK):
        body.write(chunk)
    return body


def take_upload(stream: BinaryIO, settings: Settings, inflation: Inflation) -> Taken:
    """The images of one file: itself, or the frames of a DICOM file.

    Raises:
        PayloadTooLargeError: The file has too many bytes, or inflates to too many.
        TooManyFilesError: It has more frames than a job may have images.
        ImageError: The file is no usable image.
    """
    if not is_dicom(stream):
        return Taken([check_upload(stream, settings)], None)
    instance = read_instance(stream, settings, inflation)
    return Taken(uploads_of(instance, settings), instance)


def decoding(work: Callable[..., T], *arguments: object) -> T:
    """Do what decodes in a thread of its own: a large image must not hold up other requests."""
    with context().decoding_places:
        result: T = get_hub().threadpool.apply(work, arguments)
        return result
