"""The drawn smear field is the same for the same seed, and says that it is drawn."""

import numpy as np
import pytest
from PIL import Image

from shared.local.synthetic import NOTICE, SYNTHETIC_SMEAR, draw_smear


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image)


def purple_share(image: Image.Image) -> float:
    red, green, blue = pixels(image).astype(int).transpose(2, 0, 1)
    return float(((blue - green > 60) & (red - green > 15)).mean())


def test_a_seed_draws_the_same_pixels_and_another_seed_others() -> None:
    assert np.array_equal(pixels(draw_smear(3)), pixels(draw_smear(3)))
    assert not np.array_equal(pixels(draw_smear(3)), pixels(draw_smear(4)))


@pytest.mark.parametrize("size", [64, 224, 300])
def test_a_field_is_rgb_of_the_size_that_was_asked_for(size: int) -> None:
    field = draw_smear(1, size=size)
    assert (field.mode, field.size) == ("RGB", (size, size))


def test_nucleated_cells_are_what_is_purple() -> None:
    without, few, many = (purple_share(draw_smear(5, nucleated_cells=count)) for count in (0, 3, 9))
    assert without == 0
    assert 0 < few < many < 0.5


def test_the_bundled_image_is_a_drawing_and_says_so() -> None:
    with Image.open(SYNTHETIC_SMEAR) as bundled:
        assert bundled.info["Comment"] == NOTICE
        assert "SYNTHETIC" in NOTICE
        assert np.array_equal(pixels(bundled), pixels(draw_smear(seed=7)))
    assert SYNTHETIC_SMEAR.stat().st_size < 200_000
