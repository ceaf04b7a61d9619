"""Images and jobs for tests, with sensible defaults."""

from __future__ import annotations

import io
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from shared.local.synthetic import draw_smear
from shared.settings import PROJECT_ROOT
from shared.triage.labels import LABELS

_BESIDE = Path(__file__).resolve().parents[2] / "shared"
DATASET = _BESIDE / "data" / "taleqani-all" / "Original"
PRETRAINED = _BESIDE / "weights"
"""The real images beside the project; absent on most machines."""


def encode(image: Image.Image, image_format: str = "PNG", **options: Any) -> bytes:
    """An image as the bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def smear_bytes(seed: int = 1, image_format: str = "PNG", **options: Any) -> bytes:
    """The file of a drawn smear field."""
    return encode(draw_smear(seed, red_cells=20, nucleated_cells=4), image_format, **options)


def sixteen_bit_png() -> bytes:
    """A grey PNG with 16 bits a sample."""
    return encode(Image.fromarray(np.full((64, 64), 40_000, dtype=np.uint16)))


def sixteen_bit_colour_png(side: int = 64) -> bytes:
    """A colour PNG with 16 bits a sample, which Pillow cannot write: built by hand."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", side, side, 16, 2, 0, 0, 0)
    rows = b"".join(b"\x00" + b"\x80\x00" * 3 * side for _ in range(side))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def cmyk_jpeg() -> bytes:
    """A JPEG in CMYK."""
    return encode(Image.new("CMYK", (64, 64), (10, 20, 30, 40)), "JPEG")


def exif_rotated_jpeg() -> bytes:
    """A JPEG whose EXIF data says that it lies on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return smear_bytes(image_format="JPEG", exif=exif)


def animated(image_format: str = "WEBP") -> bytes:
    """An image of two frames."""
    frames = [draw_smear(seed, size=64, red_cells=3, nucleated_cells=1) for seed in (1, 2)]
    return encode(frames[0], image_format, save_all=True, append_images=frames[1:])


def decompression_bomb(side: int = 30_000) -> bytes:
    """A small file that would decode to 900 million pixels."""
    return encode(Image.new("1", (side, side)))


def truncated_jpeg() -> bytes:
    """The first half of a JPEG."""
    data = smear_bytes(image_format="JPEG")
    return data[: len(data) // 2]


def transparent_png() -> bytes:
    """A field of which a viewer shows all but a part."""
    field = draw_smear(1).convert("RGBA")
    field.paste((0, 0, 0, 0), (0, 0, 64, 64))
    return encode(field)


def transparent_palette_png() -> bytes:
    """A field of 256 colours, one of which a viewer does not show."""
    field = draw_smear(1).convert("P")
    return encode(field, transparency=field.getpixel((0, 0)))


BAD_IMAGES: dict[str, tuple[bytes, int, str]] = {
    "text": (b"PatientName,Result\n1,2\n", 415, "unsupported_media_type"),
    "html named as an image": (b"<html><img src=x></html>", 415, "unsupported_media_type"),
    "gif": (encode(Image.new("RGB", (64, 64)), "GIF"), 415, "unsupported_media_type"),
    "pdf": (b"%PDF-1.7\n" + b"\x00" * 200, 415, "unsupported_media_type"),
    "0 bytes": (b"", 422, "empty_file"),
    "truncated jpeg": (truncated_jpeg(), 422, "corrupt_image"),
    "truncated png": (smear_bytes()[:-500], 422, "corrupt_image"),
    "a few bytes of a png": (smear_bytes()[:30], 422, "corrupt_image"),
    "truncated tiff": (
        smear_bytes(image_format="TIFF", compression="tiff_lzw")[:-500],
        422,
        "corrupt_image",
    ),
    "decompression bomb": (decompression_bomb(), 413, "too_many_pixels"),
    "16-bit grey": (sixteen_bit_png(), 422, "unsupported_pixel_format"),
    "16-bit colour": (sixteen_bit_colour_png(), 422, "unsupported_pixel_format"),
    "8-bit grey": (encode(Image.new("L", (64, 64))), 422, "unsupported_pixel_format"),
    "cmyk": (cmyk_jpeg(), 422, "unsupported_pixel_format"),
    "exif-rotated": (exif_rotated_jpeg(), 422, "exif_rotated"),
    "transparent": (transparent_png(), 422, "unsupported_pixel_format"),
    "transparent palette": (transparent_palette_png(), 422, "unsupported_pixel_format"),
    "animated webp": (animated("WEBP"), 422, "animated_image"),
    "animated png": (animated("PNG"), 422, "animated_image"),
    "multi-page tiff": (animated("TIFF"), 422, "animated_image"),
    "too small": (encode(Image.new("RGB", (8, 8))), 422, "too_few_pixels"),
}
"""Every kind of image that is refused: its bytes, the HTTP status and the code."""


def small_champion(folder: Path) -> Path:
    """A models folder whose champion is the small network.

    For tests that count what becomes of many jobs, and not what a model says of them.
    """
    name = "cnn_custom"
    shutil.copytree(PROJECT_ROOT / "models" / name, folder / name, dirs_exist_ok=True)
    (folder / "aliases.json").write_text(f'{{"champion": "{name}@1"}}')
    return folder


def class_folders(root: Path, per_class: int) -> Path:
    """Drawn fields in a folder a class; the classes differ in their number of nucleated cells.

    Returns:
        The folder, with `LABEL/INDEX.png` in it.
    """
    for number, label in enumerate(LABELS):
        (root / label).mkdir(parents=True)
        for index in range(per_class):
            field = draw_smear(100 * number + index, red_cells=5, nucleated_cells=number * 4)
            field.save(root / label / f"{index}.png")
    return root
