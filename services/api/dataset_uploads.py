"""Takes the zip of a data set, which passes through in pieces: hashed, and held nowhere.

A form is taken apart as it comes, because a usual form parser would first keep the whole file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import IO

from flask import request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from services.api.fields import FieldError
from services.api.uploads import is_form
from shared.errors import BadRequestError

MEDIA_TYPES = ("application/zip", "application/x-zip-compressed")

_FILE = "file"
_CHUNK = 64 * 1024
_MOST_GATHERED = 4 * _CHUNK
_MOST_PARTS = 16
_MOST_FIELD_CHARACTERS = 1024


class NoArchiveError(BadRequestError):
    """Send one zip: as the body, or in the form field `file`."""

    code = "no_archive"


class ArchiveUpload:
    """The zip of the running request, as a stream that is read once."""

    def __init__(self) -> None:
        self.length = 0
        self.fields: dict[str, str] = {}
        """Of the form, or of the query; those of a form are there once the stream has ended."""
        self._digest = hashlib.sha256()
        self._buffer = bytearray()
        if is_form():
            boundary = request.mimetype_params.get("boundary", "")
            self._pieces = self._of_form(request.stream, boundary.encode())
        else:
            self.fields = request.args.to_dict()
            self._pieces = iter(lambda: request.stream.read(_CHUNK), b"")

    @property
    def sha256(self) -> str:
        """Of what was read so far."""
        return self._digest.hexdigest()

    def read(self, size: int) -> bytes:
        """The next bytes; fewer than asked for at the end alone.

        Raises:
            BadRequestError: The form is malformed.
            NoArchiveError: A file is in another field, or there are several.
            FieldError: A field was sent more than once.
        """
        while len(self._buffer) < size and (piece := next(self._pieces, None)) is not None:
            self._buffer += piece
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._digest.update(taken)
        self.length += len(taken)
        return taken

    def _of_form(self, stream: IO[bytes], boundary: bytes) -> Iterator[bytes]:
        """The file's content; fields before and behind it are kept on the way."""
        # Without a bound it would gather whatever comes in front of a boundary that never comes.
        decoder = MultipartDecoder(boundary, _MOST_GATHERED, max_parts=_MOST_PARTS)
        field: str | None = None
        has_file = False
        try:
            while not isinstance(event := decoder.next_event(), Epilogue):
                if isinstance(event, NeedData):
                    decoder.receive_data(stream.read(_CHUNK) or None)
                elif isinstance(event, File):
                    if event.name != _FILE or has_file:
                        raise NoArchiveError
                    field, has_file = None, True
                elif isinstance(event, Field):
                    if not event.name:  # its text would be taken for the file's
                        raise NoArchiveError
                    if event.name in self.fields:
                        raise FieldError(f"{event.name}: sent more than once.")
                    field = event.name
                    self.fields[field] = ""
                elif isinstance(event, Data) and field is None:
                    yield event.data
                elif isinstance(event, Data) and field is not None:
                    self._add(field, event.data)
        except (ValueError, RequestEntityTooLarge) as error:
            raise BadRequestError("The form is malformed.") from error

    def _add(self, field: str, data: bytes) -> None:
        self.fields[field] += data.decode()
        if len(self.fields[field]) > _MOST_FIELD_CHARACTERS:
            raise BadRequestError("A field of the form is too long.")
