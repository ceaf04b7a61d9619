"""The quality gate: good fields pass it, useless images do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from shared.imaging import Pixels
from shared.imaging.colour import to_pixels
from shared.imaging.decode import resize
from shared.imaging.normalise import to_grey
from shared.imaging.perturb import perturb
from shared.imaging.quality import LIMITS, Quality, QualityFault, quality_faults
from tests.unit.fields import (
    NUCLEUS,
    PLASMA,
    SHAPE,
    black_and_white,
    blur,
    expose,
    faults,
    page,
    plain,
    real_fields,
    smear,
    turn_hue,
    wash_out,
)

GOOD = Quality(1.2, 250, 0.1, 0.5, 0.4, 0.0, 9)


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
    assert faults(smear(seed)) == set()
    assert faults(smear(seed, red_cells=20, nucleated_cells=4)) == set()


@pytest.mark.parametrize("name", ["hue", "saturation", "brightness", "stain", "jpeg", "blur"])
def test_day_to_day_variation_passes(name: str) -> None:
    for index in range(5):
        assert faults(perturb(smear(index), name, 1, 5, index)) == set()


def test_a_drawn_field_without_nucleated_cells_has_too_few_and_nothing_else() -> None:
    for seed in range(5):
        assert faults(smear(seed, nucleated_cells=0)) == {QualityFault.TOO_FEW_CELLS}


DEGRADED: dict[str, tuple[Callable[[Pixels], Pixels], QualityFault]] = {
    "blurred": (lambda image: blur(image, 3), QualityFault.OUT_OF_FOCUS),
    "dark": (lambda image: expose(image, 0.5), QualityFault.POOR_EXPOSURE),
    "overexposed": (lambda image: expose(image, 2), QualityFault.POOR_EXPOSURE),
    "washed out": (lambda image: wash_out(image, 0.15), QualityFault.LOW_CONTRAST),
    "grey": (to_grey, QualityFault.NOT_A_STAINED_SMEAR),
    "black and white": (black_and_white, QualityFault.NOT_A_STAINED_SMEAR),
    "of opposite hue": (lambda image: turn_hue(image, 180), QualityFault.TOO_FEW_CELLS),
}


@pytest.mark.parametrize("name", DEGRADED)
def test_a_degraded_drawn_smear_is_caught(name: str) -> None:
    degrade, fault = DEGRADED[name]
    for seed in range(5):
        assert fault in faults(degrade(smear(seed)))


@pytest.mark.parametrize("noise", [0, 3, 10, 30])
@pytest.mark.parametrize(
    "colour",
    [(255, 255, 255), (0, 0, 0), (128, 128, 128), PLASMA, NUCLEUS, (230, 150, 190), (60, 160, 60)],
)
def test_a_blank_field_is_caught(colour: tuple[int, int, int], noise: float) -> None:
    assert faults(plain(colour, noise))


def test_a_white_field_has_every_fault_there_is_and_noise_alone_is_no_smear() -> None:
    assert faults(plain((255, 255, 255))) == set(QualityFault)
    noise = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)
    assert QualityFault.NOT_A_STAINED_SMEAR in faults(noise)


@pytest.mark.parametrize("size", [7, 11, 20])
def test_pages_of_text_are_caught(size: int) -> None:
    assert QualityFault.NOT_A_STAINED_SMEAR in faults(page((20, 20, 20), (250, 250, 250), size))


@pytest.mark.parametrize("size", [7, 11])
def test_small_print_in_violet_ink_on_beige_is_caught(size: int) -> None:
    assert QualityFault.TOO_FEW_CELLS in faults(page((40, 30, 90), (240, 230, 210), size))


def test_colour_and_grey_photographs_are_caught() -> None:
    for photograph in load_sample_images().images:
        image = resize(Image.fromarray(photograph))
        assert QualityFault.NOT_A_STAINED_SMEAR in faults(image)
        assert QualityFault.NOT_A_STAINED_SMEAR in faults(to_grey(image))


def test_tissue_of_eosin_alone_has_no_nucleated_cell() -> None:
    rng = np.random.default_rng(0)
    amount = np.asarray(Image.fromarray(rng.random((28, 28))).resize(SHAPE[:2]))
    tissue = to_pixels(255 * 10 ** (-0.6 * amount[..., np.newaxis] * [0.07, 0.99, 0.11]))
    assert QualityFault.TOO_FEW_CELLS in faults(tissue)


@pytest.mark.dataset
def test_hardly_any_real_field_has_a_fault(dataset: Path) -> None:
    fields = real_fields(dataset, step=8, count=50)
    assert len(fields) == 200
    assert sum(bool(faults(field)) for field in fields) <= 2


@pytest.mark.dataset
@pytest.mark.parametrize("name", DEGRADED)
def test_degraded_real_fields_are_caught(name: str, dataset: Path) -> None:
    degrade, fault = DEGRADED[name]
    fields = real_fields(dataset, step=35, count=10)
    assert all(fault in faults(degrade(field)) for field in fields)
