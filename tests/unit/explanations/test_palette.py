"""The colour scale is cividis, and can be read whatever colours one sees."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
from skimage.color import rgb2lab

from shared.explanations.palette import CIVIDIS, coloured

# Machado, Oliveira and Fernandes 2009, IEEE Trans. Vis. Comput. Graph. 15:1291, severity 1.0, for
# linear RGB.
DEFICIENCIES = {
    "none": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}


def seen_lightness(deficiency: str) -> np.ndarray:
    """L* of CIELAB of each level, 0 to 100."""
    share = CIVIDIS / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(DEFICIENCIES[deficiency]).T, 0, 1)
    encoded = np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)
    lightness: np.ndarray = rgb2lab(encoded[np.newaxis])[0, :, 0]
    return lightness


def test_the_table_is_the_published_scale_to_two_levels() -> None:
    published = mpl.colormaps["cividis"](np.arange(256))[:, :3] * 255
    assert np.abs(CIVIDIS - published).max() <= 2


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_more_is_lighter_whatever_colours_one_sees(deficiency: str) -> None:
    lightness = seen_lightness(deficiency)
    assert (lightness[8:] > lightness[:-8]).all()
    assert np.diff(lightness).min() > -0.3, "a step of rounding"
    assert lightness[-1] - lightness[0] > 70


def test_values_get_their_colours_and_keep_their_shape() -> None:
    values = np.array([[0.0, 1.0], [0.5, 0.25]], dtype=np.float32)
    found = coloured(values)
    assert found.shape == (2, 2, 3)
    assert np.array_equal(found[0], CIVIDIS[[0, 255]])
    assert np.array_equal(found[1], CIVIDIS[[128, 64]])
