"""Perturbations are reproducible, grow with their level and never show the scale bar."""

import numpy as np
import pytest

from shared.imaging import Pixels
from shared.imaging.decode import to_model_input
from shared.imaging.mask import MASK_COLOUR, MASK_SIZE
from shared.imaging.perturb import LEVELS, PERTURBATIONS, perturb
from shared.local.synthetic import draw_smear

NAMES = list(PERTURBATIONS)


@pytest.fixture(scope="module")
def image() -> Pixels:
    return to_model_input(draw_smear(1))


def _change(image: Pixels, changed: Pixels) -> float:
    return float(np.abs(changed.astype(int) - image).mean())


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_and_index_give_the_same_pixels(name: str, image: Pixels) -> None:
    before = image.copy()
    assert np.array_equal(perturb(image, name, 2, 5, 3), perturb(image, name, 2, 5, 3))
    assert np.array_equal(image, before)


@pytest.mark.parametrize("name", NAMES)
def test_level_0_changes_nothing(name: str, image: Pixels) -> None:
    assert np.array_equal(perturb(image, name, 0, 5), image)


@pytest.mark.parametrize("name", NAMES)
def test_each_level_changes_more_than_the_one_before(name: str, image: Pixels) -> None:
    for index in range(6):
        changes = [_change(image, perturb(image, name, level, 5, index)) for level in (0, *LEVELS)]
        assert changes == sorted(set(changes))


@pytest.mark.parametrize("name", NAMES)
def test_the_mask_stays(name: str, image: Pixels) -> None:
    for level in (0, *LEVELS):
        corner = perturb(image, name, level, 5)[-MASK_SIZE:, -MASK_SIZE:]
        assert (corner == MASK_COLOUR).all()


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("jpeg", "blur")])
def test_images_of_a_set_are_changed_in_more_than_one_direction(name: str, image: Pixels) -> None:
    means = [perturb(image, name, 3, 5, index).mean(axis=(0, 1)) for index in range(12)]
    corners = [perturb(image, name, 3, 5, index)[0, 0] for index in range(12)]
    assert np.ptp(means, axis=0).max() > 1 or np.ptp(np.array(corners, dtype=int), axis=0).max() > 9


def test_brightness_goes_both_up_and_down(image: Pixels) -> None:
    rises = [perturb(image, "brightness", 2, 5, index).mean() > image.mean() for index in range(12)]
    assert 0 < sum(rises) < 12


def test_illumination_has_one_slope_across_the_field() -> None:
    grey = np.full((224, 224, 3), 120, dtype=np.uint8)
    tilted = perturb(grey, "illumination", 3, 5)[:180].astype(int)
    for axis in (0, 1):
        steps = np.diff(tilted[..., 0], axis=axis)
        assert (steps >= 0).all() or (steps <= 0).all()
    assert np.ptp(tilted) > 20


def test_hue_and_saturation_leave_grey_as_it_is() -> None:
    grey = np.full((224, 224, 3), 120, dtype=np.uint8)
    for name in ("hue", "saturation"):
        assert np.abs(perturb(grey, name, 3, 5)[:180].astype(int) - 120).max() <= 1


def test_an_unknown_level_is_refused(image: Pixels) -> None:
    with pytest.raises(ValueError, match="expected a level from 0 to 3, received: 4"):
        perturb(image, "hue", 4, 5)
