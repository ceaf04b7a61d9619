"""What a compressed frame says of its own size, read before anything decodes it.

A decoder believes the frame and not the DICOM header around it: 64 x 64 there may be 60,000 x
60,000 here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from shared.interop.dicom.errors import CorruptDicomError

_SOI = b"\xff\xd8"
_SIZ = b"\xff\x4f\xff\x51"
_SOS = 0xDA
_APP0, _APP14, _APP15, _COMMENT = 0xE0, 0xEE, 0xEF, 0xFE
# Frame headers: ITU-T T.81, table B.1, and T.87 for JPEG-LS; C4, C8 and CC are other segments.
_FRAME_HEADERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_RLE_HEADER = 64
_RLE_SEGMENTS = 3
_NO_RUN = 128


def size_of(frame: bytes) -> tuple[int, int]:
    """Width and height in pixels, as the codestream of a frame says.

    The frame is JPEG, JPEG-LS (ITU-T T.81, T.87: the frame header) or JPEG 2000 (ISO/IEC 15444-1,
    annex A.5.1: the SIZ marker segment).

    Raises:
        CorruptDicomError: It is no such codestream.
    """
    try:
        if frame.startswith(_SIZ):
            right, bottom, left, top = struct.unpack_from(">4I", frame, 8)
            return right - left, bottom - top
        for marker, start, _ in _segments(frame):
            if marker in _FRAME_HEADERS:
                height, width = struct.unpack_from(">2H", frame, start + 5)
                return width, height
    except (struct.error, IndexError) as error:
        raise CorruptDicomError("A frame ends within its header.") from error
    raise CorruptDicomError("A frame has no header of an image.")


def says_colours(frame: bytes) -> str | None:
    """The photometric interpretation that every JPEG decoder sees in a frame; None: in doubt.

    JFIF is always YCbCr (ITU-T T.871, section 7), and APP14 of Adobe says which it is (ITU-T
    T.872, section 6.5.3).
    """
    is_jfif = False
    for marker, start, end in _segments(frame):
        body = frame[start + 4 : end]
        if marker == _APP14 and body.startswith(b"Adobe") and len(body) >= 12:
            return "YBR" if body[11] == 1 else "RGB"
        is_jfif = is_jfif or (marker == _APP0 and body.startswith(b"JFIF"))
    return "YBR" if is_jfif else None


def without_comments(frame: bytes) -> bytes:
    """A JPEG less the segments that tell of its making: comments, EXIF, XMP.

    Its coded pixels are not touched. Without such segments it stays byte for byte as it is.
    """
    kept = bytearray(_SOI)
    position = len(_SOI)
    for marker, _, end in _segments(frame):
        told = marker == _COMMENT or (_APP0 < marker <= _APP15 and marker != _APP14)
        if not told:
            kept += frame[position:end]
        position = end
        if marker == _SOS:
            break
    return bytes(kept + frame[position:])


def _segments(frame: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each marker segment up to the scan's (ITU-T T.81, B.1.1)."""
    if not frame.startswith(_SOI):
        raise CorruptDicomError("A frame is in no compression that its transfer syntax names.")
    start = len(_SOI)
    while start + 4 <= len(frame):
        filled = start
        while filled + 4 < len(frame) and frame[filled : filled + 2] == b"\xff\xff":
            filled += 1
        lead, marker, length = struct.unpack_from(">BBH", frame, filled)
        end = filled + 2 + length
        if lead != 0xFF or length < 2 or end > len(frame):
            raise CorruptDicomError("A frame has a damaged segment.")
        yield marker, filled, end
        if marker == _SOS:
            return
        start = end


def check_runs(frame: bytes, pixels: int) -> None:
    """Refuse an RLE frame whose runs (PS3.5, annex G) give more than its pixels.

    Args:
        frame: Header and segments.
        pixels: Bytes that each of its three segments must give; one byte of padding may follow.

    Raises:
        CorruptDicomError: It gives another number of bytes, or has other segments.
    """
    if len(frame) < _RLE_HEADER:
        raise CorruptDicomError("An RLE frame has no header.")
    count, *offsets = struct.unpack_from("<16I", frame)
    ends = [*offsets[1:_RLE_SEGMENTS], len(frame)]
    if count != _RLE_SEGMENTS:
        raise CorruptDicomError("An RLE frame of 8-bit colour must have three segments.")
    for start, end in zip(offsets[:_RLE_SEGMENTS], ends, strict=True):
        if not _RLE_HEADER <= start <= end <= len(frame):
            raise CorruptDicomError("An RLE frame has a segment that is not in it.")
        # Literal runs cost a byte each; what is longer than this is made of empty runs.
        if (
            end - start > 2 * pixels + _RLE_SEGMENTS
            or _expanded(frame, start, end, pixels) < pixels
        ):
            raise CorruptDicomError("An RLE segment is not as long as its pixels.")


def _expanded(frame: bytes, start: int, end: int, limit: int) -> int:
    """How many bytes the runs give; raises once they are more than the limit and padding."""
    given = 0
    position = start
    while position + 1 < end:
        head = frame[position]
        if head < _NO_RUN:
            position += head + 2
            given += head + 1
        elif head > _NO_RUN:
            position += 2
            given += 257 - head
        else:
            position += 1
        if given > limit + 1:
            raise CorruptDicomError("An RLE segment is longer than its pixels.")
    return given
