"""What the quality gate measures of an image."""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageDraw

from shared.imaging import INPUT_SIZE, Pixels
from shared.imaging.colour import to_pixels
from shared.imaging.mask import MASK_SIZE, mask_scale_bar
from shared.imaging.normalise import to_grey
from shared.imaging.quality import Quality, QualityFault, measure_quality, quality_faults
from tests.unit.fields import (
    PLASMA,
    SHAPE,
    blur,
    discs,
    expose,
    real_fields,
    smear,
    turn_hue,
    wash_out,
)

SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def _images(draw: st.DrawFn) -> Pixels:
    """Tiles of any colours, one or many, with or without noise."""
    tiles = draw(st.sampled_from([1, 2, 4, 16, 32]))
    colours = draw(arrays(np.uint8, (tiles, tiles, 3)))
    side = INPUT_SIZE // tiles
    image = colours.repeat(side, axis=0).repeat(side, axis=1)
    noise = draw(st.sampled_from([0, 1, 8, 80]))
    return to_pixels(image + noise * np.random.default_rng(draw(SEEDS)).normal(size=SHAPE))


@settings(max_examples=60, deadline=None)
@given(_images())
def test_any_image_has_finite_measures_in_their_ranges(image: Pixels) -> None:
    quality = measure_quality(image)
    assert np.isfinite(astuple(quality)).all()
    assert quality.focus >= 0
    assert 0 <= quality.background <= 255
    for share in (quality.bleached, quality.contrast, quality.stained, quality.foreign):
        assert 0 <= share <= 1
    assert quality.stained + quality.foreign <= 1
    assert quality.nucleated_cells >= 0
    assert set(quality_faults(quality)) <= set(QualityFault)


@settings(max_examples=30, deadline=None)
@given(_images(), SEEDS)
def test_what_is_in_the_scale_bar_corner_changes_nothing(image: Pixels, seed: int) -> None:
    rng = np.random.default_rng(seed)
    other = image.copy()
    other[-MASK_SIZE:, -MASK_SIZE:] = rng.integers(0, 256, (MASK_SIZE, MASK_SIZE, 3))
    quality = measure_quality(image)
    assert measure_quality(mask_scale_bar(image)) == quality
    assert measure_quality(other) == quality


def test_an_image_is_left_as_it_was() -> None:
    image = smear()
    before = image.copy()
    measure_quality(image)
    assert np.array_equal(image, before)


@pytest.mark.parametrize("shape", [(224, 224), (112, 112, 3), (1, 224, 224, 3), (224, 224, 4)])
def test_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected shape \(224, 224, 3\), received: "):
        measure_quality(np.zeros(shape, dtype=np.uint8))


def test_the_measures_are_plain_numbers_in_a_result() -> None:
    quality = measure_quality(smear())
    numbers = quality.as_dict()
    assert list(numbers) == list(Quality.__dataclass_fields__)
    assert {type(number) for number in numbers.values()} == {int, float}
    assert all(numbers[name] == round(getattr(quality, name), 4) for name in numbers)


@pytest.mark.parametrize("seed", range(5))
def test_focus_falls_with_every_step_of_blur(seed: int) -> None:
    image = smear(seed)
    focus = [measure_quality(blur(image, sigma)).focus for sigma in (0, 1, 2, 3, 4, 6)]
    assert focus == sorted(set(focus), reverse=True)


def test_focus_depends_neither_on_contrast_nor_on_the_number_of_cells() -> None:
    focus = measure_quality(smear()).focus
    assert measure_quality(wash_out(smear(), 0.5)).focus == pytest.approx(focus, rel=0.05)
    assert measure_quality(smear(red_cells=20)).focus == pytest.approx(focus, rel=0.1)


def test_background_and_bleached_share_grow_with_exposure() -> None:
    measures = [measure_quality(expose(smear(), gain)) for gain in (0.3, 0.6, 1.0, 1.5, 2.0)]
    assert [m.background for m in measures] == sorted(m.background for m in measures)
    assert [m.bleached for m in measures] == sorted(m.bleached for m in measures)
    assert measures[0].background < measures[2].background < measures[4].background
    assert measures[2].bleached < measures[3].bleached < measures[4].bleached


def test_contrast_falls_as_a_field_is_washed_out_and_stays_when_it_is_dimmed() -> None:
    image = smear()
    contrast = [measure_quality(wash_out(image, share)).contrast for share in (1, 0.6, 0.3, 0.1)]
    assert contrast == sorted(set(contrast), reverse=True)
    assert measure_quality(expose(image, 0.6)).contrast == pytest.approx(contrast[0], abs=0.02)


def test_colours_of_smears_are_stain_other_colours_are_foreign() -> None:
    image = smear()
    shares = measure_quality(image)
    assert shares.stained > 0.1
    assert shares.foreign == 0
    turned = measure_quality(turn_hue(image, 180))
    assert turned.stained < 0.02
    assert turned.foreign > 0.05
    assert measure_quality(to_grey(image)).stained == 0


@pytest.mark.parametrize("lamp", [(1, 0.95, 0.75), (0.85, 0.95, 1), (1, 0.85, 0.95)])
def test_the_tint_of_a_lamp_is_no_stain_and_hides_no_cell(lamp: tuple[float, ...]) -> None:
    image = smear()
    plain, tinted = measure_quality(image), measure_quality(to_pixels(image * np.array(lamp)))
    assert tinted.stained == pytest.approx(plain.stained, abs=0.02)
    assert tinted.foreign == 0
    assert tinted.nucleated_cells == plain.nucleated_cells


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (discs(), 0),
        (discs((60, 60, 12)), 1),
        (discs((60, 60, 12), (120, 60, 12), (60, 140, 8)), 3),
        (discs((60, 60, 12), (83, 60, 12)), 2),  # they touch
        (discs((60, 60, 12), (77, 77, 12)), 2),  # they touch
        (discs((60, 60, 12), (72, 60, 12)), 1),  # half of one is hidden
        (discs((60, 60, 30)), 1),  # a large one
        (discs((0, 100, 10), (100, 0, 10)), 2),  # the edge cuts them
        (discs((205, 205, 12)), 0),  # where the scale bar is
        (discs(*((x, 40, 2) for x in range(20, 200, 10))), 0),  # specks
        (discs((60, 60, 12), colour=(172, 184, 204)), 0),  # a red cell
    ],
)
def test_nucleated_cells_are_counted(field: Pixels, expected: int) -> None:
    assert measure_quality(field).nucleated_cells == expected


def test_a_small_hole_leaves_its_cell_one() -> None:
    field = Image.fromarray(discs((60, 60, 13)))
    ImageDraw.Draw(field).ellipse((57, 57, 63, 63), fill=PLASMA)
    assert measure_quality(np.asarray(field)).nucleated_cells == 1


@pytest.mark.parametrize("seed", range(5))
def test_more_drawn_cells_are_a_greater_count(seed: int) -> None:
    drawn = (0, 3, 6, 9)
    counts = [measure_quality(smear(seed, nucleated_cells=n)).nucleated_cells for n in drawn]
    assert counts == sorted(counts)
    assert counts[0] == 0
    assert 7 <= counts[-1] <= 9


@pytest.mark.dataset
def test_focus_of_real_fields_falls_with_every_step_of_blur(dataset: Path) -> None:
    for field in real_fields(dataset, step=70, count=5):
        focus = [measure_quality(blur(field, sigma)).focus for sigma in (0, 1, 2, 3, 4)]
        assert focus == sorted(set(focus), reverse=True)
