"""Whether a field is good enough to be judged: focus, exposure, contrast, stain, nucleated cells.

All is measured on the model's input at half its size (112x112, means of 2x2 pixels), which averages
most of the noise of camera and JPEG away. The scale-bar corner counts for nothing, masked or not.

Colours are measured after the plasma is made white: each channel is divided by its own level at the
95th percentile of the field. That takes off the tint of a lamp or a camera, so that the hues of
another laboratory are not held against its fields (von Kries' coefficient law, with the white of
the brightest part: Land and McCann 1971, J. Opt. Soc. Am. 61:1).

docs/quality.md tells how the limits were chosen, and what they catch and miss.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from shared.imaging import INPUT_SIZE, Pixels
from shared.imaging.mask import MASK_SIZE
from shared.imaging.segment import cell_mask

Levels = NDArray[np.float32]


class QualityFault(StrEnum):
    """What is wrong with a field; each asks for a human's review."""

    OUT_OF_FOCUS = "out_of_focus"
    POOR_EXPOSURE = "poor_exposure"  # too dark, or its light parts bleached
    LOW_CONTRAST = "low_contrast"
    NOT_A_STAINED_SMEAR = "not_a_stained_smear"  # colourless, or of colours that no smear has
    TOO_FEW_CELLS = "too_few_cells"  # no nucleated cell was found


@dataclass(frozen=True)
class Quality:
    """The measures of one field. A field of one plain colour has focus and contrast 0.

    Attributes:
        focus: How fine the detail is, per pixel of the half-size copy: root mean square of the
            Laplacian of the luma over that of its gradient, after smoothing by a cubic B-spline.
            It falls with blur; contrast and the number of cells cancel out. It is the mobility of
            Hjorth 1970 (Electroencephalogr. Clin. Neurophysiol. 29:306) taken of the gradient, or
            Laplacian energy over gradient energy of Pertuz et al. 2013 (Pattern Recognit. 46:1415).
        background: 95th percentile of the luma, 0 to 255: how light the plasma is.
        bleached: Share of the field whose three channels are all at least `BLEACHED_LEVEL`.
        contrast: 0 to 1: how much darker than the background the darkest hundredth of the field is,
            as a share of the background (Weber's contrast; Peli 1990, J. Opt. Soc. Am. A 7:2032).
        stained: Share of the field with at least a tint (`MIN_TINT`) of a hue that stained smears
            have: from cyan over blue, violet and pink to red (`FIRST_HUE` to `LAST_HUE`).
        foreign: Share of the field in a full colour (`MIN_COLOUR`) of any other hue: orange,
            yellow, green.
        nucleated_cells: Maxima of `cell_mask` after smoothing, a Gaussian of `CELL_SIGMA`: those of
            at least `CELL_FILL` with no higher one within `CELL_DISTANCE`. The smoothing closes
            small holes and wears specks and thin strands away; what is left must be about 11 input
            pixels wide, so that most platelets do not count. Cells that touch are one each, a cell
            that the edge cuts counts. An estimate: large smudges and clumps count too, and of two
            cells that overlap by half, one. Blobs as maxima of a smoothed image: Lindeberg 1998,
            Int. J. Comput. Vis. 30:79.
    """

    focus: float
    background: float
    bleached: float
    contrast: float
    stained: float
    foreign: float
    nucleated_cells: int

    def as_dict(self) -> dict[str, float]:
        """The measures as plain numbers with four decimals, for a result."""
        return {name: round(value, 4) for name, value in asdict(self).items()}


@dataclass(frozen=True)
class QualityLimits:
    """A version of the limits, named like the measures; a measure at its limit is no fault."""

    version: str
    min_focus: float
    min_background: float
    max_bleached: float
    min_contrast: float
    min_stained: float
    max_foreign: float
    min_nucleated_cells: int


LIMITS = QualityLimits(
    version="1",
    min_focus=0.74,
    min_background=160,
    max_bleached=0.7,
    min_contrast=0.16,
    min_stained=0.03,
    max_foreign=0.2,
    min_nucleated_cells=1,
)
"""What is in use. A change of any number, or of a measure, is a new version."""

BLEACHED_LEVEL = 254
"""Of 255: as light as the camera can tell, less one for what JPEG changes."""

FIRST_HUE, LAST_HUE = 190, 15
"""In degrees, by way of 0: the blue-grey of red cells at high pH to their salmon at low pH."""

MIN_TINT, MIN_COLOUR = 0.1, 0.2
"""Saturations in HSV: of the palest red cells, and of what nobody calls grey or white."""

CELL_SIGMA, CELL_FILL, CELL_DISTANCE = 2.5, 0.5, 3
"""Pixels of the half-size copy, share of the smoothing window that is cell, and pixels again."""

_HALF, _CORNER = INPUT_SIZE // 2, MASK_SIZE // 2
_LIGHT_SHARE, _DARK_SHARE = 0.95, 0.01
_DEGREES_TO_PILLOW = 256 / 360

_FIELD = np.ones((_HALF, _HALF), dtype=bool)
_FIELD[-_CORNER:, -_CORNER:] = False
_FIELD_SIZE = int(np.count_nonzero(_FIELD))
_FIELD_IMAGE = Image.fromarray(_FIELD.astype(np.uint8) * 255)
_PLACES = np.arange(_HALF * _HALF, dtype=np.int32).reshape(_HALF, _HALF)


def measure_quality(image: Pixels) -> Quality:
    """Measure one field.

    Args:
        image: Shape (224, 224, 3), its scale bar hidden or not: the result is the same.

    Raises:
        ValueError: The image is of another size.
    """
    if image.shape != (INPUT_SIZE, INPUT_SIZE, 3):
        raise ValueError(f"expected shape (224, 224, 3), received: {image.shape}")
    half = Image.fromarray(image).reduce(2)
    grey = half.convert("L")  # the luma of ITU-R BT.601
    luma = np.array(grey.histogram(_FIELD_IMAGE))
    background = _level(luma, _LIGHT_SHARE)
    balanced = _balance(half)
    stained, foreign = _stain(balanced)
    return Quality(
        focus=_focus(np.asarray(grey, dtype=np.float32)),
        background=float(background),
        bleached=_bleached(np.asarray(half)),
        contrast=(background - _level(luma, _DARK_SHARE)) / max(background, 1),
        stained=stained,
        foreign=foreign,
        nucleated_cells=_count_cells(np.asarray(balanced)),
    )


def quality_faults(quality: Quality, limits: QualityLimits = LIMITS) -> tuple[QualityFault, ...]:
    """Tell what is wrong with a field, in the order of `QualityFault`; nothing, if it is good."""
    found = {
        QualityFault.OUT_OF_FOCUS: quality.focus < limits.min_focus,
        QualityFault.POOR_EXPOSURE: quality.background < limits.min_background
        or quality.bleached > limits.max_bleached,
        QualityFault.LOW_CONTRAST: quality.contrast < limits.min_contrast,
        QualityFault.NOT_A_STAINED_SMEAR: quality.stained < limits.min_stained
        or quality.foreign > limits.max_foreign,
        QualityFault.TOO_FEW_CELLS: quality.nucleated_cells < limits.min_nucleated_cells,
    }
    return tuple(fault for fault in QualityFault if found[fault])


def _level(counts: NDArray[Any], share: float) -> int:
    """The level that a share of the pixels does not exceed, from a histogram."""
    below = np.cumsum(counts)
    return int(np.searchsorted(below, share * below[-1]))


def _balance(half: Image.Image) -> Image.Image:
    """The field with its plasma white."""
    counts = np.array(half.histogram(_FIELD_IMAGE)).reshape(3, 256)
    whites = [[max(_level(channel, _LIGHT_SHARE), 1)] for channel in counts]
    table = np.minimum(np.arange(256) * 255 // np.array(whites), 255)
    return half.point(table.ravel().tolist())


def _focus(luma: Levels) -> float:
    smooth = (luma[:-2] + 4 * luma[1:-1] + luma[2:]) / 6
    smooth = (smooth[:, :-2] + 4 * smooth[:, 1:-1] + smooth[:, 2:]) / 6
    up, down = smooth[:-2, 1:-1], smooth[2:, 1:-1]
    left, right = smooth[1:-1, :-2], smooth[1:-1, 2:]
    gradient = ((down - up) ** 2 + (right - left) ** 2) / 4
    laplacian = (up + down + left + right - 4 * smooth[1:-1, 1:-1]) ** 2
    # A value sees two pixels far. Two are lost at each edge, so that the corner's size stays.
    seen = np.ones(gradient.shape, dtype=bool)
    seen[-_CORNER:, -_CORNER:] = False
    energy = float(gradient[seen].sum())
    return float(np.sqrt(laplacian[seen].sum() / energy)) if energy else 0.0


def _bleached(half: Pixels) -> float:
    red, green, blue = np.moveaxis(half, -1, 0)
    return _share(np.minimum(np.minimum(red, green), blue) >= BLEACHED_LEVEL)


def _stain(balanced: Image.Image) -> tuple[float, float]:
    """The shares of the field in a smear's hues and in others."""
    colours = balanced.convert("HSV")
    hue, saturation = (np.asarray(colours.getchannel(band)) for band in "HS")
    is_stain = (hue >= FIRST_HUE * _DEGREES_TO_PILLOW) | (hue <= LAST_HUE * _DEGREES_TO_PILLOW)
    stained = is_stain & (saturation >= MIN_TINT * 255)
    foreign = ~is_stain & (saturation >= MIN_COLOUR * 255)
    return _share(stained), _share(foreign)


def _share(where: NDArray[np.bool_]) -> float:
    """The share of the field in which something is so."""
    return int(np.count_nonzero(where & _FIELD)) / _FIELD_SIZE


def _count_cells(balanced: Pixels) -> int:
    mask = Image.fromarray((cell_mask(balanced) & _FIELD).astype(np.uint8) * 255)
    fill = np.asarray(mask.filter(ImageFilter.GaussianBlur(CELL_SIGMA)))
    # The place of a pixel breaks ties, so that a plateau has one maximum.
    heights = fill.astype(np.int32) * _PLACES.size + _PLACES
    is_top = heights == _highest(_highest(heights).T).T
    return int((is_top & (fill >= CELL_FILL * 255)).sum())


def _highest(heights: NDArray[np.int32]) -> NDArray[np.int32]:
    """The highest of each pixel and of those up to `CELL_DISTANCE` above and below it."""
    highest = heights.copy(order="K")
    for shift in range(1, CELL_DISTANCE + 1):
        lower, upper = highest[shift:], highest[:-shift]
        np.maximum(lower, heights[:-shift], out=lower)
        np.maximum(upper, heights[shift:], out=upper)
    return highest
