"""A hostile image costs a bounded time and memory: each bound is exceeded here."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from PIL import Image

from shared.errors import ImageError, ImageTooComplexError, ImageTooLargeError
from shared.frugal import MAX_READS, Frugal
from shared.imaging.decode import MAX_SCANS, check_image, decode_image
from tests.factories import encode, smear_bytes

MAX_PIXELS = 50_000_000
MANY = MAX_READS + 1


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    """A PNG chunk."""
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def in_png(*chunks: bytes) -> bytes:
    """A PNG with chunks behind its header."""
    png = smear_bytes()
    return png[:33] + b"".join(chunks) + png[33:]


def in_jpeg(segments: bytes) -> bytes:
    """A JPEG with segments behind its first marker."""
    jpeg = smear_bytes(image_format="JPEG")
    return jpeg[:2] + segments + jpeg[2:]


def tiff_of_many_directories() -> bytes:
    """A TIFF whose directory of tags leads to another, and so on (TIFF 6.0, section 2)."""
    tiff = bytearray(encode(Image.new("RGB", (64, 64)), "TIFF"))
    at = struct.unpack_from("<I", tiff, 4)[0]
    size = 2 + 12 * struct.unpack_from("<H", tiff, at)[0]
    directory = bytes(tiff[at : at + size])
    struct.pack_into("<I", tiff, at + size, len(tiff))
    for _ in range(MAX_READS // 10):
        tiff += directory + struct.pack("<I", len(tiff) + size + 4)
    return bytes(tiff)


def tiled_tiff(side: int) -> bytes:
    """A TIFF of 32x32 pixels in one deflated tile of so many a side (TIFF 6.0, section 15)."""
    tile = zlib.compress(b"\x80" * (side * side * 3))
    behind = 8 + 2 + 12 * 11 + 4
    tags = [
        *((256, 4, 1, 32), (257, 4, 1, 32), (258, 3, 3, behind), (259, 3, 1, 8), (262, 3, 1, 2)),
        *((277, 3, 1, 3), (284, 3, 1, 1), (322, 4, 1, side), (323, 4, 1, side)),
        *((324, 4, 1, behind + 6), (325, 4, 1, len(tile))),
    ]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0\x08\0\0\0" + directory + b"\0" * 4 + struct.pack("<3H", 8, 8, 8) + tile


def progressive(more_scans: int) -> bytes:
    """A progressive JPEG that repeats its last scan."""
    jpeg = encode(Image.new("RGB", (256, 256), (200, 90, 150)), "JPEG", progressive=True)
    last = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    return jpeg[:-2] + last * more_scans + jpeg[-2:]


HOSTILE = {
    "png of empty chunks": lambda: in_png(chunk(b"abCd") * MANY),
    "png of texts": lambda: in_png(chunk(b"tEXt", b"a\0b") * MANY),
    "png of empty data": lambda: in_png(chunk(b"IDAT") * MANY),
    "jpeg of empty segments": lambda: in_jpeg(b"\xff\xe1\x00\x02" * MANY),
    "jpeg of comments": lambda: in_jpeg(b"\xff\xfe\x00\x02" * MANY),
    "jpeg of fill bytes": lambda: in_jpeg(b"\xff" * MANY),
    "jpeg of scans": lambda: progressive(MAX_SCANS),
    "tiff of directories": tiff_of_many_directories,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_file_of_too_many_pieces_is_refused(kind: str) -> None:
    with pytest.raises(ImageTooComplexError):
        decode_image(io.BytesIO(HOSTILE[kind]()), max_pixels=MAX_PIXELS, reduced=True)
    with pytest.raises(ImageTooComplexError):
        check_image(io.BytesIO(HOSTILE[kind]()), max_pixels=MAX_PIXELS)


def test_a_tile_that_is_larger_than_any_image_is_refused() -> None:
    """However small the image, its tile would be decoded whole."""
    assert decode_image(io.BytesIO(tiled_tiff(64)), max_pixels=MAX_PIXELS).width == 32
    with pytest.raises(ImageTooLargeError, match="tile"):
        decode_image(io.BytesIO(tiled_tiff(128)), max_pixels=100 * 100)


def test_a_progressive_jpeg_of_usual_scans_is_taken() -> None:
    assert decode_image(io.BytesIO(progressive(20)), max_pixels=MAX_PIXELS).width == 256


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_a_text_that_inflates_beyond_all_use_is_refused_or_left_out(kind: bytes) -> None:
    """Pillow's own bounds: 1 MiB a text, 64 MiB of texts in a file, and so for colour profiles."""
    bomb = zlib.compress(b"x" * 2 * 1024**2)
    head = {b"zTXt": b"k\0\0", b"iTXt": b"k\0\x01\0\0\0", b"iCCP": b"k\0\0"}[kind]
    try:
        decoded = decode_image(io.BytesIO(in_png(chunk(kind, head + bomb))), max_pixels=MAX_PIXELS)
    except ImageError as error:
        assert error.code == "corrupt_image"
    else:
        assert not any(len(str(value)) > 1024**2 for value in decoded.image.info.values())


def test_a_budget_counts_bytes_and_pieces() -> None:
    too_long, too_many = ImageTooComplexError("long"), ImageTooComplexError("many")
    stream = Frugal(io.BytesIO(b"x" * 9), most_bytes=8, too_long=too_long, too_many=too_many)
    assert stream.read(8) == b"x" * 8
    with pytest.raises(ImageTooComplexError, match="long"):
        stream.read()
    idle = Frugal(io.BytesIO(), most_bytes=8, too_long=too_long, too_many=too_many)
    for _ in range(MAX_READS):
        idle.read(1)
    with pytest.raises(ImageTooComplexError, match="many"):
        idle.read(1)
