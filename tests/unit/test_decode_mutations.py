"""Whatever is done to an image file: its pixels come out, or an error with a code.

What checks an upload takes the same, but for damaged JPEGs, and refuses the same."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from shared.errors import CorruptImageError, ImageError, UnsupportedPixelFormatError
from shared.imaging.decode import MIN_SIDE, check_image, decode_image
from tests.dicom import field
from tests.factories import animated, cmyk_jpeg, encode, exif_rotated_jpeg, sixteen_bit_colour_png

pytestmark = pytest.mark.filterwarnings("ignore")  # what Pillow says of damaged metadata

MAX_PIXELS = 200_000

SMALL = field(size=MIN_SIDE)
FILES: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: encode(SMALL, "JPEG", icc_profile=b"\0" * 128, comment=b"c"),
    "progressive jpeg": lambda: encode(SMALL, "JPEG", progressive=True),
    "jpeg with exif": exif_rotated_jpeg,
    "cmyk": cmyk_jpeg,
    "mpo": lambda: encode(SMALL, "MPO", save_all=True, append_images=[SMALL]),
    "png": lambda: encode(SMALL, "PNG", icc_profile=b"\0" * 128),
    "palette png": lambda: encode(SMALL.convert("P"), "PNG", transparency=3),
    "16-bit png": sixteen_bit_colour_png,
    "interlaced png": lambda: interlaced(encode(SMALL, "PNG")),
    "animated png": lambda: animated("PNG"),
    "tiff": lambda: encode(SMALL, "TIFF"),
    "tiff of lzw": lambda: encode(SMALL, "TIFF", compression="tiff_lzw"),
    "tiff of jpeg": lambda: encode(SMALL, "TIFF", compression="jpeg"),
    "tiff of many pages": lambda: animated("TIFF"),
    "bigtiff": lambda: encode(SMALL, "TIFF", big_tiff=True),
    "bmp": lambda: encode(SMALL, "BMP"),
    "palette bmp": lambda: encode(SMALL.convert("P"), "BMP"),
    "webp": lambda: encode(SMALL, "WEBP"),
    "lossless webp": lambda: encode(SMALL.convert("RGBA"), "WEBP", lossless=True),
    "animated webp": lambda: animated("WEBP"),
}


def interlaced(png: bytes) -> bytes:
    """A PNG that says that it is interlaced (PNG, section 11.2.2), whatever its rows are."""
    header = png[12:28] + b"\x01"
    return png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]


def gives_pixels_or_a_code(data: bytes, *, reduced: bool) -> None:
    try:
        decoded = decode_image(io.BytesIO(data), max_pixels=MAX_PIXELS, reduced=reduced)
    except ImageError as error:
        assert error.code
        assert error.http_status in (413, 415, 422)
        # A JPEG of unusual chroma is told so before it is found to be damaged.
        with pytest.raises((type(error), UnsupportedPixelFormatError)):
            check_image(io.BytesIO(data), max_pixels=MAX_PIXELS)
    else:
        try:
            checked = check_image(io.BytesIO(data), max_pixels=MAX_PIXELS)
        except (CorruptImageError, UnsupportedPixelFormatError):
            # What libjpeg makes up for is taken where it must be shown, and not where it comes in.
            assert decoded.media_type == "image/jpeg"
            return
        assert checked == (decoded.media_type, decoded.width, decoded.height)
        assert decoded.image.mode == "RGB"
        assert min(decoded.width, decoded.height) >= MIN_SIDE
        assert decoded.width * decoded.height <= MAX_PIXELS
        assert len(decoded.image.tobytes()) <= 3 * MAX_PIXELS


def mend_crcs(png: bytes) -> bytes:
    """A PNG with the checksums that its chunks should have, so that what they say is believed."""
    out, at = bytearray(png[:8]), 8
    while at + 12 <= len(png):
        length = struct.unpack_from(">I", png, at)[0]
        end = at + 8 + length
        if end + 4 > len(png):
            break
        out += png[at:end] + struct.pack(">I", zlib.crc32(png[at + 4 : end]))
        at = end + 4
    return bytes(out + png[at:])


VALUES = st.sampled_from([0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF])


@st.composite
def mutations(draw: st.DrawFn, data: bytes) -> bytes:
    """A file that was cut, had bytes or numbers changed, or parts repeated or left out."""
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        # Most of what a file says of itself stands at its beginning.
        at = draw(st.integers(0, min(len(changed), 200)) | st.integers(0, len(changed)))
        end = min(at + draw(st.integers(0, 64)), len(changed))
        how = draw(st.sampled_from(["flip", "number", "cut", "repeat", "leave out", "swap"]))
        if how == "flip" and at < len(changed):
            changed[at] ^= draw(st.integers(1, 255))
        elif how == "number":
            order, size = draw(st.sampled_from("<>")), draw(st.sampled_from("HI"))
            number = draw(VALUES) & (0xFFFF if size == "H" else 0xFFFFFFFF)
            written = struct.pack(order + size, number)
            changed[at : at + len(written)] = written
        elif how == "cut":
            del changed[at:]
        elif how == "repeat":
            changed[at:at] = changed[at:end] * draw(st.integers(1, 50))
        elif how == "leave out":
            del changed[at:end]
        elif how == "swap":
            changed[at:end] = changed[at:end][::-1]
    return bytes(changed)


def mutate(kind: str, examples: int) -> None:
    original = FILES[kind]()

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(mutations(original), st.booleans(), st.booleans())
    def check(data: bytes, mended: bool, reduced: bool) -> None:
        is_png = data.startswith(b"\x89PNG")
        gives_pixels_or_a_code(mend_crcs(data) if mended and is_png else data, reduced=reduced)

    check()


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_was_changed_gives_pixels_or_a_code(kind: str) -> None:
    mutate(kind, examples=15)


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_was_changed_a_thousand_times_gives_pixels_or_a_code(kind: str) -> None:
    mutate(kind, examples=1000)


@pytest.mark.parametrize("kind", ["png", "bmp", "tiff", "webp", "jpeg"])
@pytest.mark.parametrize("side", [0, 1, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_header_that_claims_any_size_costs_no_more_than_it_may(kind: str, side: int) -> None:
    data = bytearray(FILES[kind]())
    number = struct.pack(">I" if kind in ("png", "jpeg") else "<I", side)
    at = {"png": 16, "bmp": 18, "webp": 26}.get(kind)
    if kind == "jpeg":
        at, number = data.index(b"\xff\xc0") + 5, number[2:]
    if kind == "tiff":  # the value of its first tag, ImageWidth (TIFF 6.0, section 8)
        at = struct.unpack_from("<I", data, 4)[0] + 2 + 8
    assert at is not None
    data[at : at + len(number)] = number
    gives_pixels_or_a_code(mend_crcs(bytes(data)) if kind == "png" else bytes(data), reduced=True)


def test_files_within_files_are_no_images() -> None:
    """What is one format within another is told by its first bytes alone."""
    png = FILES["png"]()
    inner = Image.open(io.BytesIO(png)).format
    assert inner == "PNG"
    for outer in (b"PK\x03\x04" + png, b"%PDF-1.7\n" + png, b"GIF89a" + png):
        with pytest.raises(ImageError) as refused:
            decode_image(io.BytesIO(outer), max_pixels=MAX_PIXELS)
        assert refused.value.code == "unsupported_media_type"
