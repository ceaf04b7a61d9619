"""Images are told by their bytes, and every unusable one is refused with its own code."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from shared.errors import CorruptImageError, ImageError
from shared.imaging import INPUT_SIZE
from shared.imaging.decode import (
    check_image,
    decode_image,
    load_model_input,
    resize,
    to_model_input,
)
from shared.imaging.mask import MASK_COLOUR, MASK_SIZE, mask_scale_bar
from shared.local.synthetic import draw_smear
from tests.factories import (
    BAD_IMAGES,
    decompression_bomb,
    encode,
    sixteen_bit_colour_png,
    smear_bytes,
)

MAX_PIXELS = 50_000_000


@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_an_unusable_image_is_refused_with_its_code(kind: str) -> None:
    data, status, code = BAD_IMAGES[kind]
    with pytest.raises(ImageError) as refused:
        decode_image(io.BytesIO(data), max_pixels=MAX_PIXELS)
    assert (refused.value.code, refused.value.http_status) == (code, status)
    with pytest.raises(ImageError) as refused:
        check_image(io.BytesIO(data), max_pixels=MAX_PIXELS)
    assert (refused.value.code, refused.value.http_status) == (code, status)


@pytest.mark.parametrize(
    ("image_format", "options", "media_type"),
    [
        ("PNG", {}, "image/png"),
        ("TIFF", {}, "image/tiff"),
        ("BMP", {}, "image/bmp"),
        ("WEBP", {"lossless": True}, "image/webp"),
    ],
)
def test_lossless_formats_give_the_same_pixels(
    image_format: str, options: dict[str, bool], media_type: str
) -> None:
    drawn = draw_smear(3)
    data = encode(drawn, image_format, **options)
    decoded, found, _, _ = decode_image(io.BytesIO(data), max_pixels=MAX_PIXELS)
    assert found == media_type
    assert np.array_equal(np.asarray(decoded), np.asarray(drawn))


def test_a_jpeg_is_accepted_and_stays_near_its_original() -> None:
    drawn = draw_smear(3)
    data = encode(drawn, "JPEG", quality=95)
    decoded, found, _, _ = decode_image(io.BytesIO(data), max_pixels=MAX_PIXELS)
    difference = np.abs(np.asarray(decoded, dtype=int) - np.asarray(drawn, dtype=int))
    assert found == "image/jpeg"
    assert difference.mean() < 5


def test_an_opaque_image_with_alpha_or_a_palette_is_read_as_rgb() -> None:
    for mode in ("RGBA", "P"):
        data = encode(draw_smear(1).convert(mode))
        decoded = decode_image(io.BytesIO(data), max_pixels=MAX_PIXELS)
        assert decoded.image.mode == "RGB"


def test_the_pixel_limit_is_the_one_given() -> None:
    data = smear_bytes()
    decode_image(io.BytesIO(data), max_pixels=224 * 224)
    with pytest.raises(ImageError, match="more than 50175 pixels"):
        decode_image(io.BytesIO(data), max_pixels=224 * 224 - 1)


def test_model_input_keeps_a_field_of_the_right_size_but_for_the_masked_corner() -> None:
    drawn = draw_smear(5)
    pixels = to_model_input(drawn)
    outside = np.ones((INPUT_SIZE, INPUT_SIZE), dtype=bool)
    outside[-MASK_SIZE:, -MASK_SIZE:] = False
    assert np.array_equal(pixels[outside], np.asarray(drawn)[outside])
    assert (pixels[~outside] == MASK_COLOUR).all()


def test_a_large_field_is_reduced_as_a_whole() -> None:
    large = Image.new("RGB", (1600, 1200), (250, 250, 250))
    large.paste((90, 40, 160), (0, 0, 800, 600))
    pixels = resize(large)
    assert pixels.shape == (INPUT_SIZE, INPUT_SIZE, 3)
    assert tuple(pixels[50, 50]) == (90, 40, 160)
    assert tuple(pixels[50, 200]) == (250, 250, 250)


def large_jpeg() -> bytes:
    """A field as a microscope's camera gives it, with the noise of one."""
    field = draw_smear(7, size=640).resize((2592, 1944), Image.Resampling.BICUBIC)
    noise = np.random.default_rng(0).normal(0, 6, (1944, 2592, 3))
    noisy = (np.asarray(field) + noise).clip(0, 255).astype(np.uint8)
    return encode(Image.fromarray(noisy), "JPEG", quality=90)


def test_a_large_jpeg_is_reduced_while_it_is_decoded_and_gives_nearly_the_same() -> None:
    data = large_jpeg()
    whole = decode_image(io.BytesIO(data), max_pixels=MAX_PIXELS)
    reduced = decode_image(io.BytesIO(data), max_pixels=MAX_PIXELS, reduced=True)
    assert whole.image.size == (whole.width, whole.height) == (2592, 1944)
    assert reduced.image.size == (648, 486)
    assert (reduced.width, reduced.height) == (2592, 1944)
    difference = resize(reduced.image).astype(int) - resize(whole.image)
    assert np.abs(difference).max() <= 4
    assert np.abs(difference).mean() < 0.5


@pytest.mark.parametrize("size", [(896, 896), (1000, 900), (1800, 1800), (3600, 3600)])
def test_a_hard_edge_that_is_reduced_changes_little_and_nothing_else(size: tuple[int, int]) -> None:
    """The black round aperture of a microscope's camera, halved, quartered and so on."""
    field = draw_smear(7, size=640).resize(size, Image.Resampling.BICUBIC)
    aperture = Image.new("L", size, 0)
    ImageDraw.Draw(aperture).ellipse((5, 5, size[0] - 5, size[1] - 5), fill=255)
    seen = Image.composite(field, Image.new("RGB", size), aperture)
    data = encode(seen, "JPEG", quality=90)
    whole, reduced = (
        decode_image(io.BytesIO(data), max_pixels=MAX_PIXELS, reduced=how) for how in (False, True)
    )
    assert reduced.image.width < whole.image.width
    difference = np.abs(resize(reduced.image).astype(int) - resize(whole.image)).max(axis=2)
    assert difference.max() <= 20
    assert (difference > 4).mean() < 0.02, "along the edge alone"


def test_a_field_of_the_models_size_is_never_reduced() -> None:
    data = smear_bytes(image_format="JPEG")
    whole, reduced = (
        decode_image(io.BytesIO(data), max_pixels=MAX_PIXELS, reduced=how) for how in (False, True)
    )
    assert np.array_equal(np.asarray(whole.image), np.asarray(reduced.image))


def test_a_large_jpeg_that_ends_early_is_refused_when_reduced_too() -> None:
    data = large_jpeg()
    with pytest.raises(ImageError) as refused:
        decode_image(io.BytesIO(data[: len(data) * 9 // 10]), max_pixels=MAX_PIXELS, reduced=True)
    assert refused.value.code == "corrupt_image"


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_a_jpeg_that_ends_anywhere_is_refused_by_the_check(options: dict[str, Any]) -> None:
    """Every row is read, however far the check has it reduced."""
    data = smear_bytes(image_format="JPEG", **options)
    assert check_image(io.BytesIO(data), max_pixels=MAX_PIXELS) == ("image/jpeg", 224, 224)
    for share in (0.1, 0.5, 0.9, 0.99):
        with pytest.raises(ImageError) as refused:
            check_image(io.BytesIO(data[: int(len(data) * share)]), max_pixels=MAX_PIXELS)
        assert refused.value.code == "corrupt_image"


def damaged(data: bytes, kind: str) -> bytes:
    """A JPEG as a disk or a broken transfer leaves it: its beginning and its end are whole."""
    middle = len(data) * 6 // 10
    return {
        "a sector of zeros": data[:middle] + bytes(512) + data[middle + 512 :],
        "a sector lost": data[:middle] + data[middle + 512 :],
        "closed early": data[:middle] + b"\xff\xd9",
    }[kind]


@pytest.mark.parametrize("size", [224, 1600])
@pytest.mark.parametrize("kind", ["a sector of zeros", "a sector lost", "closed early"])
def test_a_jpeg_that_is_damaged_within_is_refused_by_the_check(
    kind: str, size: int, tmp_path: Path
) -> None:
    path = tmp_path / "field.jpg"
    path.write_bytes(encode(draw_smear(3).resize((size, size)), "JPEG", quality=95))
    with path.open("rb") as whole:
        assert check_image(whole, max_pixels=MAX_PIXELS) == ("image/jpeg", size, size)
    path.write_bytes(damaged(path.read_bytes(), kind))
    decode_image(io.BytesIO(path.read_bytes()), max_pixels=MAX_PIXELS)  # libjpeg only warns
    with path.open("rb") as broken, pytest.raises(CorruptImageError):
        check_image(broken, max_pixels=MAX_PIXELS)


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (sixteen_bit_colour_png(), "16 bits a sample"),
        (decompression_bomb(), f"more than {MAX_PIXELS} pixels"),
    ],
)
def test_a_refusal_says_what_is_wrong_and_our_limit(data: bytes, detail: str) -> None:
    with pytest.raises(ImageError, match=detail):
        check_image(io.BytesIO(data), max_pixels=MAX_PIXELS)


def test_pillow_warns_of_nothing_past_the_log(recwarn: pytest.WarningsRecorder) -> None:
    with pytest.raises(CorruptImageError):
        check_image(io.BytesIO(BAD_IMAGES["truncated tiff"][0]), max_pixels=MAX_PIXELS)
    assert not recwarn.list


def test_the_mask_hides_whatever_stands_in_the_corner() -> None:
    one, other = (np.full((2, 224, 224, 3), shade, dtype=np.uint8) for shade in (0, 255))
    other[:, :-MASK_SIZE] = 0
    other[:, :, :-MASK_SIZE] = 0
    assert np.array_equal(mask_scale_bar(one), mask_scale_bar(other))


def test_the_mask_refuses_other_sizes() -> None:
    with pytest.raises(ValueError, match="expected shape"):
        mask_scale_bar(np.zeros((100, 100, 3), dtype=np.uint8))


def test_a_file_that_never_came_in_is_looked_through_too(tmp_path: Path) -> None:
    """As `predict` and `evaluate` read it."""
    data = smear_bytes(image_format="JPEG", quality=95)
    middle = len(data) // 2
    (tmp_path / "field.jpg").write_bytes(data[:middle] + data[middle + 512 :])
    with pytest.raises(CorruptImageError):
        load_model_input(tmp_path / "field.jpg", max_pixels=MAX_PIXELS)


def test_a_jpeg_of_unusual_chroma_is_not_called_damaged() -> None:
    data = bytearray(smear_bytes(image_format="JPEG", subsampling=0))
    luma = data.index(b"\xff\xc0") + 11  # ITU-T T.81, B.2.2: factors of the first component
    data[luma], data[luma + 3] = 0x11, 0x22
    with pytest.raises(ImageError, match="unusual") as refused:
        check_image(io.BytesIO(data), max_pixels=MAX_PIXELS)
    assert refused.value.code == "unsupported_pixel_format"
