"""STOW-RS (PS3.18, section 10.5): the parts of a request, and the document that answers it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from typing import IO, Any, BinaryIO, cast

from shared.errors import BadRequestError, HemotriageError, PayloadTooLargeError, TransientError
from shared.interop.dicom.errors import (
    CorruptDicomError,
    UnsupportedSopClassError,
    UnsupportedTransferSyntaxError,
)
from shared.jobs.uploads import spool

MAX_PARTS = 1024

_CHUNK = 64 * 1024
_MOST_HEADER_BYTES = 8 * 1024
_MOST_BOUNDARY = 70  # RFC 2046, section 5.1.1

OUT_OF_RESOURCES = 0xA700
NOT_AS_ITS_CLASS = 0xA900
CANNOT_UNDERSTAND = 0xC000
CLASS_NOT_SUPPORTED = 0x0122
SYNTAX_NOT_SUPPORTED = 0xC122


def failure_reason(error: HemotriageError) -> int:
    """Why an instance was not stored: PS3.4, table B.2-1; PS3.18, table I.2-2; PS3.7, annex C."""
    if isinstance(error, UnsupportedSopClassError):
        return CLASS_NOT_SUPPORTED
    if isinstance(error, UnsupportedTransferSyntaxError):
        return SYNTAX_NOT_SUPPORTED
    if isinstance(error, CorruptDicomError):
        return CANNOT_UNDERSTAND
    if isinstance(error, (TransientError, PayloadTooLargeError)) or error.http_status == 429:
        return OUT_OF_RESOURCES
    return NOT_AS_ITS_CLASS


@dataclass(frozen=True)
class Stored:
    """An instance that is part of a job now; `url` is the job's address."""

    sop_class_uid: str
    instance_uid: str
    url: str


@dataclass(frozen=True)
class Failed:
    """An instance that was refused; without UIDs where its header could not be read."""

    reason: int
    sop_class_uid: str | None = None
    instance_uid: str | None = None


def response_document(stored: Sequence[Stored], failed: Sequence[Failed]) -> dict[str, Any]:
    """The Store Instances Response Module (PS3.18, table I.1-1) in DICOM JSON (annex F)."""
    known = [each for each in failed if each.instance_uid is not None]
    unknown = [each for each in failed if each.instance_uid is None]
    items = {
        "00081198": [
            {**_referenced(each.sop_class_uid, each.instance_uid), **_reason(each)}
            for each in known
        ],
        "00081199": [
            {
                **_referenced(each.sop_class_uid, each.instance_uid),
                "00081190": {"vr": "UR", "Value": [each.url]},
            }
            for each in stored
        ],
        "0008119A": [_reason(each) for each in unknown],
    }
    return {tag: {"vr": "SQ", "Value": value} for tag, value in items.items() if value}


def _referenced(sop_class_uid: str | None, instance_uid: str | None) -> dict[str, Any]:
    return {
        "00081150": {"vr": "UI", "Value": [sop_class_uid]},
        "00081155": {"vr": "UI", "Value": [instance_uid]},
    }


def _reason(failed: Failed) -> dict[str, Any]:
    return {"00081197": {"vr": "US", "Value": [failed.reason]}}


class Parts:
    """The parts of a `multipart/related` body (RFC 2046, section 5.1), read as they come.

    No more of it is in memory than a piece and a part's headers; each part is a file on disk.
    """

    def __init__(self, stream: IO[bytes], boundary: str) -> None:
        """Begin.

        Args:
            stream: The body.
            boundary: The parameter of the content type.

        Raises:
            BadRequestError: The boundary is none.
        """
        if not 0 < len(boundary) <= _MOST_BOUNDARY or not boundary.isascii():
            raise BadRequestError("The content type needs a boundary of 1 to 70 characters.")
        self._stream = stream
        self._delimiter = f"\r\n--{boundary}".encode()
        # The first delimiter may stand at the very beginning, with no line before it.
        self._buffer = bytearray(b"\r\n")

    def __iter__(self) -> Iterator[tuple[str, BinaryIO]]:
        """Content type and content of each part; the content is the caller's to close.

        Raises:
            BadRequestError: The body is malformed, or ends before its last delimiter.
        """
        for _ in self._until_delimiter():
            pass
        count = 0
        while not self._is_last():
            count += 1
            if count > MAX_PARTS:
                raise PayloadTooLargeError(f"At most {MAX_PARTS} parts.")
            media_type = self._media_type()
            part = spool()
            try:
                for piece in self._until_delimiter():
                    part.write(piece)
            except BaseException:
                part.close()
                raise
            yield media_type, cast("BinaryIO", part)

    def _is_last(self) -> bool:
        self._fill(2)
        ending = bytes(self._buffer[:2])
        if ending != b"--":
            line = self._line_end()
            if self._buffer[:line].strip(b" \t"):
                raise BadRequestError("A part does not begin on a line of its own.")
            del self._buffer[:line]
        return ending == b"--"

    def _line_end(self) -> int:
        end = -1
        while (end := self._buffer.find(b"\r\n")) < 0:
            if len(self._buffer) > _MOST_HEADER_BYTES or not self._more():
                raise BadRequestError("The body ends within a delimiter.")
        return end

    def _media_type(self) -> str:
        """Read a part's headers, which follow the line end that is left of its delimiter."""
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > _MOST_HEADER_BYTES or not self._more():
                raise BadRequestError("A part's headers have no end.")
        headers = BytesHeaderParser().parsebytes(bytes(self._buffer[2 : end + 4]))
        # The delimiter behind an empty part shares its line end with the headers.
        del self._buffer[: end + 2]
        if not self._buffer.startswith(self._delimiter):
            del self._buffer[:2]
        return headers.get_content_type()

    def _until_delimiter(self) -> Iterator[bytes]:
        """What comes before the next delimiter, which is taken away as well."""
        while (at := self._buffer.find(self._delimiter)) < 0:
            safe = len(self._buffer) - len(self._delimiter)
            if safe > 0:
                yield bytes(self._buffer[:safe])
                del self._buffer[:safe]
            if not self._more():
                raise BadRequestError("The body ends before its last delimiter.")
        yield bytes(self._buffer[:at])
        del self._buffer[: at + len(self._delimiter)]

    def _fill(self, size: int) -> None:
        while len(self._buffer) < size and self._more():
            pass

    def _more(self) -> bool:
        piece = self._stream.read(_CHUNK)
        self._buffer += piece
        return bool(piece)
