"""The picture shows the field, what counted in it, and what it is."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from skimage.color import rgb2lab

from shared.explanations.attribution import Shares
from shared.explanations.method import Method
from shared.explanations.overlay import (
    NAMES,
    PANEL,
    Caption,
    draw_explanation,
    draw_overlay,
    encode_png,
)
from shared.imaging import Pixels
from shared.imaging.mask import MASK_SIZE
from shared.local.synthetic import draw_smear
from shared.triage.labels import LABELS, Label
from shared.triage.wording.english import ENGLISH

NOTHING = np.zeros((224, 224), dtype=np.float32)


def caption(method: Method = Method.GRADCAM, label: Label = Label.EARLY) -> Caption:
    return Caption(
        method=method,
        model="efficientnet_lite0@1",
        label=label,
        probability=0.98765,
        shares=Shares(on_cells=0.31, chance=0.12, hidden=0.01),
        version="1",
    )


def spot(row: int, column: int, side: int = 40) -> np.ndarray:
    attribution = NOTHING.copy()
    attribution[row : row + side, column : column + side] = 1
    return attribution


def grey_field(level: int) -> Image.Image:
    return Image.new("RGB", (224, 224), (level, level, level))


def lightness(pixels: Pixels) -> np.ndarray:
    """L* of CIELAB, 0 to 100."""
    found: np.ndarray = rgb2lab(pixels)[..., 0]
    return found


@pytest.mark.parametrize("size", [(224, 224), (448, 448), (640, 480), (1000, 2000), (4000, 32)])
def test_each_panel_has_the_shape_of_its_field_in_one_box(size: tuple[int, int]) -> None:
    green = Image.new("RGB", size, (0, 200, 0))
    page = np.asarray(draw_explanation(green, NOTHING, caption()))
    rows, columns = np.nonzero((page == (0, 200, 0)).all(axis=2))
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert max(height, width) == PANEL
    assert width / height == pytest.approx(size[0] / size[1], rel=0.15)


def test_the_field_is_shown_in_its_colours_beside_the_overlay() -> None:
    field = draw_smear(1)
    page = draw_explanation(field, NOTHING, caption())
    enlarged = np.asarray(field.resize((PANEL, PANEL), Image.Resampling.BICUBIC))
    assert (np.asarray(page.crop((16, 40, 16 + PANEL, 40 + PANEL))) == enlarged).all()
    overlay = draw_overlay(Image.fromarray(enlarged), NOTHING)
    left = 16 + PANEL + 16
    beside = np.asarray(page.crop((left, 40, left + PANEL, 40 + PANEL)))
    assert (beside == np.asarray(overlay)).all()


def test_where_nothing_counted_the_cells_are_seen_in_grey() -> None:
    overlay = np.asarray(draw_overlay(draw_smear(1), NOTHING)).astype(int)
    visible = overlay[: 224 - MASK_SIZE]
    assert (np.ptp(visible, axis=2) == 0).all()
    assert np.ptp(visible) > 40


@pytest.mark.parametrize("level", [70, 180, 240])
def test_more_is_lighter_on_nuclei_red_cells_and_plasma(level: int) -> None:
    ramp = np.linspace(0, 1, 224, dtype=np.float32)[:, np.newaxis].repeat(224, 1)
    overlay = np.asarray(draw_overlay(grey_field(level), ramp))[:, 20]
    seen = lightness(np.delete(overlay, 112, axis=0)[np.newaxis])[0]  # without the line
    falls = np.maximum.accumulate(seen) - seen
    assert falls.max() < 2.5
    assert seen[-1] - seen[0] > 35


def test_a_nucleus_is_seen_where_it_counted_most() -> None:
    everywhere = np.ones((224, 224), dtype=np.float32)
    nucleus, plasma = (
        lightness(np.asarray(draw_overlay(grey_field(level), everywhere)))[20, 20]
        for level in (70, 240)
    )
    assert plasma - nucleus > 8


def test_a_line_encloses_what_is_above_half() -> None:
    overlay = np.asarray(draw_overlay(grey_field(240), spot(60, 60)))
    white = (overlay == 255).all(axis=2)
    assert white[60, 62:98].all()
    assert white[62:98, 99].all()
    assert not white[61:99, 61:99].any()
    assert not white[:60].any()


def test_the_attribution_is_stretched_to_the_shape_of_the_field() -> None:
    overlay = np.asarray(draw_overlay(Image.new("RGB", (448, 112), (240,) * 3), spot(112, 56, 56)))
    bright = lightness(overlay) > 70
    rows, columns = np.nonzero(bright[:92])
    assert (rows.min(), rows.max()) == pytest.approx((56, 83), abs=1)
    assert (columns.min(), columns.max()) == pytest.approx((112, 223), abs=2)


def test_the_corner_of_the_scale_bar_is_hatched_whatever_lies_there() -> None:
    empty = np.asarray(draw_overlay(draw_smear(1), NOTHING))
    other = np.asarray(draw_overlay(grey_field(200), NOTHING))
    corner = (slice(-MASK_SIZE, None), slice(-MASK_SIZE, None))
    assert np.array_equal(empty[corner], other[corner])
    assert len(np.unique(empty[corner])) == 2
    assert not np.array_equal(empty[:-MASK_SIZE], other[:-MASK_SIZE])


@pytest.mark.parametrize("method", Method)
@pytest.mark.parametrize("label", LABELS)
def test_the_caption_is_whole(method: Method, label: Label) -> None:
    """The last columns of the page are empty: no line runs over its edge."""
    page = np.asarray(draw_explanation(draw_smear(1), NOTHING, caption(method, label)))
    below = page[40 + PANEL :]
    assert (below < 200).any()
    assert (below[:, -10:] == 255).all()
    assert (below[-10:] == 255).all()


def test_two_captions_are_two_pictures() -> None:
    field = draw_smear(1)
    pictures = {
        draw_explanation(field, NOTHING, caption(method, label)).tobytes()
        for method in Method
        for label in LABELS
    }
    assert len(pictures) == len(Method) * len(LABELS)
    assert set(NAMES) == set(Method)


def test_the_png_says_what_it_is_and_is_the_same_each_time() -> None:
    field = draw_smear(2)
    first, again = (
        encode_png(draw_explanation(field, spot(50, 50), caption()), caption()) for _ in range(2)
    )
    assert first == again
    assert len(first) < 700_000
    with Image.open(io.BytesIO(first)) as picture:
        assert picture.format == "PNG"
        assert picture.info == {
            "Method": "gradcam",
            "Model": "efficientnet_lite0@1",
            "Label": "Early",
            "Version": "1",
            "Disclaimer": ENGLISH.disclaimer,
        }
