"""The quality gate: what it measures, that good fields pass it, and that useless images do not."""

from collections.abc import Callable
from dataclasses import astuple, replace
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from sklearn.datasets import load_sample_images

from shared.imaging import INPUT_SIZE, Pixels
from shared.imaging.colour import to_pixels
from shared.imaging.decode import load_model_input, resize, to_model_input
from shared.imaging.mask import MASK_SIZE, mask_scale_bar
from shared.imaging.normalise import to_grey
from shared.imaging.perturb import perturb
from shared.imaging.quality import LIMITS, Quality, QualityFault, measure_quality, quality_faults
from shared.local.synthetic import draw_smear
from shared.triage.labels import LABELS

SHAPE = (INPUT_SIZE, INPUT_SIZE, 3)
PLASMA, NUCLEUS = (238, 241, 247), (98, 56, 172)
GOOD = Quality(1.2, 250, 0.1, 0.5, 0.4, 0.0, 9)

SEEDS = st.integers(0, 2**32 - 1)


def _smear(seed: int = 1, *, red_cells: int = 70, nucleated_cells: int = 9) -> Pixels:
    drawn = draw_smear(seed, red_cells=red_cells, nucleated_cells=nucleated_cells)
    return to_model_input(drawn)


def _blur(image: Pixels, sigma: float) -> Pixels:
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(sigma)))


def _expose(image: Pixels, gain: float) -> Pixels:
    return to_pixels(image.astype(float) * gain)


def _wash_out(image: Pixels, share: float) -> Pixels:
    return to_pixels(240 + share * (image - 240.0))


def _black_and_white(image: Pixels) -> Pixels:
    grey = to_grey(image)
    return np.where(grey > np.median(grey) - 20, np.uint8(255), np.uint8(0))


def _turn_hue(image: Pixels, degrees: float) -> Pixels:
    hue, saturation, value = Image.fromarray(image).convert("HSV").split()
    turned = hue.point([(level + round(degrees * 256 / 360)) % 256 for level in range(256)])
    return np.asarray(Image.merge("HSV", (turned, saturation, value)).convert("RGB"))


def _plain(colour: tuple[int, int, int], noise: float = 0) -> Pixels:
    rng = np.random.default_rng(0)
    return to_pixels(np.array(colour) + noise * rng.normal(size=SHAPE))


def _discs(*circles: tuple[int, int, int], colour: tuple[int, int, int] = NUCLEUS) -> Pixels:
    """Circles (x, y, radius in pixels) on plasma."""
    field = Image.new("RGB", SHAPE[:2], PLASMA)
    for x, y, radius in circles:
        ImageDraw.Draw(field).ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return np.asarray(field)


def _page(ink: tuple[int, int, int], paper: tuple[int, int, int], size: int) -> Pixels:
    page = Image.new("RGB", SHAPE[:2], paper)
    words = "the quick brown fox jumps over the lazy dog and runs " * 2
    for line, top in enumerate(range(4, INPUT_SIZE, size + 3)):
        text, font = words[line % 9 :], ImageFont.load_default(size)
        ImageDraw.Draw(page).text((4, top), text, fill=ink, font=font)
    return np.asarray(page)


def _faults(image: Pixels) -> set[QualityFault]:
    return set(quality_faults(measure_quality(image)))


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
    image = _smear()
    before = image.copy()
    measure_quality(image)
    assert np.array_equal(image, before)


@pytest.mark.parametrize("shape", [(224, 224), (112, 112, 3), (1, 224, 224, 3), (224, 224, 4)])
def test_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected shape \(224, 224, 3\), received: "):
        measure_quality(np.zeros(shape, dtype=np.uint8))


def test_the_measures_are_plain_numbers_in_a_result() -> None:
    quality = measure_quality(_smear())
    numbers = quality.as_dict()
    assert list(numbers) == list(Quality.__dataclass_fields__)
    assert {type(number) for number in numbers.values()} == {int, float}
    assert all(numbers[name] == round(getattr(quality, name), 4) for name in numbers)


@pytest.mark.parametrize("seed", range(5))
def test_focus_falls_with_every_step_of_blur(seed: int) -> None:
    image = _smear(seed)
    focus = [measure_quality(_blur(image, sigma)).focus for sigma in (0, 1, 2, 3, 4, 6)]
    assert focus == sorted(set(focus), reverse=True)


def test_focus_depends_neither_on_contrast_nor_on_the_number_of_cells() -> None:
    focus = measure_quality(_smear()).focus
    assert measure_quality(_wash_out(_smear(), 0.5)).focus == pytest.approx(focus, rel=0.05)
    assert measure_quality(_smear(red_cells=20)).focus == pytest.approx(focus, rel=0.1)


def test_background_and_bleached_share_grow_with_exposure() -> None:
    measures = [measure_quality(_expose(_smear(), gain)) for gain in (0.3, 0.6, 1.0, 1.5, 2.0)]
    assert [m.background for m in measures] == sorted(m.background for m in measures)
    assert [m.bleached for m in measures] == sorted(m.bleached for m in measures)
    assert measures[0].background < measures[2].background < measures[4].background
    assert measures[2].bleached < measures[3].bleached < measures[4].bleached


def test_contrast_falls_as_a_field_is_washed_out_and_stays_when_it_is_dimmed() -> None:
    image = _smear()
    contrast = [measure_quality(_wash_out(image, share)).contrast for share in (1, 0.6, 0.3, 0.1)]
    assert contrast == sorted(set(contrast), reverse=True)
    assert measure_quality(_expose(image, 0.6)).contrast == pytest.approx(contrast[0], abs=0.02)


def test_colours_of_smears_are_stain_other_colours_are_foreign() -> None:
    image = _smear()
    shares = measure_quality(image)
    assert shares.stained > 0.1
    assert shares.foreign == 0
    turned = measure_quality(_turn_hue(image, 180))
    assert turned.stained < 0.02
    assert turned.foreign > 0.05
    assert measure_quality(to_grey(image)).stained == 0


@pytest.mark.parametrize("lamp", [(1, 0.95, 0.75), (0.85, 0.95, 1), (1, 0.85, 0.95)])
def test_the_tint_of_a_lamp_is_no_stain_and_hides_no_cell(lamp: tuple[float, ...]) -> None:
    image = _smear()
    plain, tinted = measure_quality(image), measure_quality(to_pixels(image * np.array(lamp)))
    assert tinted.stained == pytest.approx(plain.stained, abs=0.02)
    assert tinted.foreign == 0
    assert tinted.nucleated_cells == plain.nucleated_cells


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (_discs(), 0),
        (_discs((60, 60, 12)), 1),
        (_discs((60, 60, 12), (120, 60, 12), (60, 140, 8)), 3),
        (_discs((60, 60, 12), (83, 60, 12)), 2),  # they touch
        (_discs((60, 60, 12), (77, 77, 12)), 2),  # they touch
        (_discs((60, 60, 12), (72, 60, 12)), 1),  # half of one is hidden
        (_discs((60, 60, 30)), 1),  # a large one
        (_discs((0, 100, 10), (100, 0, 10)), 2),  # the edge cuts them
        (_discs((205, 205, 12)), 0),  # where the scale bar is
        (_discs(*((x, 40, 2) for x in range(20, 200, 10))), 0),  # specks
        (_discs((60, 60, 12), colour=(172, 184, 204)), 0),  # a red cell
    ],
)
def test_nucleated_cells_are_counted(field: Pixels, expected: int) -> None:
    assert measure_quality(field).nucleated_cells == expected


def test_a_small_hole_leaves_its_cell_one() -> None:
    field = Image.fromarray(_discs((60, 60, 13)))
    ImageDraw.Draw(field).ellipse((57, 57, 63, 63), fill=PLASMA)
    assert measure_quality(np.asarray(field)).nucleated_cells == 1


@pytest.mark.parametrize("seed", range(5))
def test_more_drawn_cells_are_a_greater_count(seed: int) -> None:
    drawn = (0, 3, 6, 9)
    counts = [measure_quality(_smear(seed, nucleated_cells=n)).nucleated_cells for n in drawn]
    assert counts == sorted(counts)
    assert counts[0] == 0
    assert 7 <= counts[-1] <= 9


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"focus": LIMITS.min_focus}, None),
        ({"focus": LIMITS.min_focus - 0.01}, QualityFault.OUT_OF_FOCUS),
        ({"background": LIMITS.min_background}, None),
        ({"background": LIMITS.min_background - 1}, QualityFault.POOR_EXPOSURE),
        ({"bleached": LIMITS.max_bleached}, None),
        ({"bleached": LIMITS.max_bleached + 0.01}, QualityFault.POOR_EXPOSURE),
        ({"contrast": LIMITS.min_contrast}, None),
        ({"contrast": LIMITS.min_contrast - 0.01}, QualityFault.LOW_CONTRAST),
        ({"stained": LIMITS.min_stained}, None),
        ({"stained": LIMITS.min_stained - 0.01}, QualityFault.NOT_A_STAINED_SMEAR),
        ({"foreign": LIMITS.max_foreign}, None),
        ({"foreign": LIMITS.max_foreign + 0.01}, QualityFault.NOT_A_STAINED_SMEAR),
        ({"nucleated_cells": LIMITS.min_nucleated_cells}, None),
        ({"nucleated_cells": LIMITS.min_nucleated_cells - 1}, QualityFault.TOO_FEW_CELLS),
    ],
)
def test_a_measure_beyond_its_limit_is_a_fault(
    change: dict[str, float], fault: QualityFault | None
) -> None:
    assert quality_faults(replace(GOOD, **change)) == (() if fault is None else (fault,))


def test_faults_come_in_one_order_and_other_limits_may_be_given() -> None:
    worst = Quality(0, 0, 0, 0, 0, 0, 0)
    assert quality_faults(worst) == tuple(QualityFault)
    strict = replace(LIMITS, version="strict", min_nucleated_cells=10)
    assert quality_faults(GOOD, strict) == (QualityFault.TOO_FEW_CELLS,)


@pytest.mark.parametrize("seed", range(10))
def test_drawn_smears_pass(seed: int) -> None:
    assert _faults(_smear(seed)) == set()
    assert _faults(_smear(seed, red_cells=20, nucleated_cells=4)) == set()


@pytest.mark.parametrize("name", ["hue", "saturation", "brightness", "stain", "jpeg", "blur"])
def test_day_to_day_variation_passes(name: str) -> None:
    for index in range(5):
        assert _faults(perturb(_smear(index), name, 1, 5, index)) == set()


def test_a_drawn_field_without_nucleated_cells_has_too_few_and_nothing_else() -> None:
    for seed in range(5):
        assert _faults(_smear(seed, nucleated_cells=0)) == {QualityFault.TOO_FEW_CELLS}


DEGRADED: dict[str, tuple[Callable[[Pixels], Pixels], QualityFault]] = {
    "blurred": (lambda image: _blur(image, 3), QualityFault.OUT_OF_FOCUS),
    "dark": (lambda image: _expose(image, 0.5), QualityFault.POOR_EXPOSURE),
    "overexposed": (lambda image: _expose(image, 2), QualityFault.POOR_EXPOSURE),
    "washed out": (lambda image: _wash_out(image, 0.15), QualityFault.LOW_CONTRAST),
    "grey": (to_grey, QualityFault.NOT_A_STAINED_SMEAR),
    "black and white": (_black_and_white, QualityFault.NOT_A_STAINED_SMEAR),
    "of opposite hue": (lambda image: _turn_hue(image, 180), QualityFault.TOO_FEW_CELLS),
}


@pytest.mark.parametrize("name", DEGRADED)
def test_a_degraded_drawn_smear_is_caught(name: str) -> None:
    degrade, fault = DEGRADED[name]
    for seed in range(5):
        assert fault in _faults(degrade(_smear(seed)))


@pytest.mark.parametrize("noise", [0, 3, 10, 30])
@pytest.mark.parametrize(
    "colour",
    [(255, 255, 255), (0, 0, 0), (128, 128, 128), PLASMA, NUCLEUS, (230, 150, 190), (60, 160, 60)],
)
def test_a_blank_field_is_caught(colour: tuple[int, int, int], noise: float) -> None:
    assert _faults(_plain(colour, noise))


def test_a_white_field_has_every_fault_there_is_and_noise_alone_is_no_smear() -> None:
    assert _faults(_plain((255, 255, 255))) == set(QualityFault)
    noise = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)
    assert QualityFault.NOT_A_STAINED_SMEAR in _faults(noise)


@pytest.mark.parametrize("size", [7, 11, 20])
def test_pages_of_text_are_caught(size: int) -> None:
    assert QualityFault.NOT_A_STAINED_SMEAR in _faults(_page((20, 20, 20), (250, 250, 250), size))


@pytest.mark.parametrize("size", [7, 11])
def test_small_print_in_violet_ink_on_beige_is_caught(size: int) -> None:
    assert QualityFault.TOO_FEW_CELLS in _faults(_page((40, 30, 90), (240, 230, 210), size))


def test_colour_and_grey_photographs_are_caught() -> None:
    for photograph in load_sample_images().images:
        image = resize(Image.fromarray(photograph))
        assert QualityFault.NOT_A_STAINED_SMEAR in _faults(image)
        assert QualityFault.NOT_A_STAINED_SMEAR in _faults(to_grey(image))


def test_tissue_of_eosin_alone_has_no_nucleated_cell() -> None:
    rng = np.random.default_rng(0)
    amount = np.asarray(Image.fromarray(rng.random((28, 28))).resize(SHAPE[:2]))
    tissue = to_pixels(255 * 10 ** (-0.6 * amount[..., np.newaxis] * [0.07, 0.99, 0.11]))
    assert QualityFault.TOO_FEW_CELLS in _faults(tissue)


def _real_fields(dataset: Path, step: int, count: int) -> list[Pixels]:
    """As many of each class, spread over its files."""
    files = [f for label in LABELS for f in sorted((dataset / label).iterdir())[::step][:count]]
    return [load_model_input(file, max_pixels=10**6) for file in files]


@pytest.mark.dataset
def test_hardly_any_real_field_has_a_fault(dataset: Path) -> None:
    fields = _real_fields(dataset, step=8, count=50)
    assert len(fields) == 200
    assert sum(bool(_faults(field)) for field in fields) <= 2


@pytest.mark.dataset
@pytest.mark.parametrize("name", DEGRADED)
def test_degraded_real_fields_are_caught(name: str, dataset: Path) -> None:
    degrade, fault = DEGRADED[name]
    fields = _real_fields(dataset, step=35, count=10)
    assert all(fault in _faults(degrade(field)) for field in fields)


@pytest.mark.dataset
def test_focus_of_real_fields_falls_with_every_step_of_blur(dataset: Path) -> None:
    for field in _real_fields(dataset, step=70, count=5):
        focus = [measure_quality(_blur(field, sigma)).focus for sigma in (0, 1, 2, 3, 4)]
        assert focus == sorted(set(focus), reverse=True)
