"""Normalisation takes stain colour away and leaves plasma white."""

from pathlib import Path

import numpy as np
import pytest

from shared.imaging import Pixels
from shared.imaging.decode import load_model_input, to_model_input
from shared.imaging.mask import MASK_COLOUR, MASK_SIZE
from shared.imaging.normalise import normalise_stain, to_grey
from shared.imaging.perturb import perturb
from shared.imaging.segment import cell_mask
from shared.local.synthetic import draw_smear
from shared.triage.labels import LABELS


@pytest.fixture(scope="module")
def image() -> Pixels:
    return to_model_input(draw_smear(1))


def test_grey_is_the_luma_on_all_channels(image: Pixels) -> None:
    grey = to_grey(
        np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [90, 90, 90]]], dtype=np.uint8)
    )
    assert grey[0].tolist() == [[76] * 3, [150] * 3, [29] * 3, [90] * 3]
    assert to_grey(image[np.newaxis]).shape == (1, *image.shape)


def test_two_stainings_of_a_field_are_nearer_to_each_other_once_normalised(image: Pixels) -> None:
    for index in range(4):
        other = perturb(image, "stain", 2, 5, index)
        apart = np.abs(other.astype(int) - image).mean()
        normalised = normalise_stain(other).astype(int) - normalise_stain(image)
        assert np.abs(normalised).mean() < 0.7 * apart


def test_a_normalised_field_has_its_mask_and_is_the_same_each_time(image: Pixels) -> None:
    normalised = normalise_stain(image)
    assert (normalised[-MASK_SIZE:, -MASK_SIZE:] == MASK_COLOUR).all()
    assert np.array_equal(normalised, normalise_stain(image))


def test_yellowish_plasma_comes_out_white(image: Pixels) -> None:
    yellow = (image * np.array([0.97, 0.97, 0.85])).round().astype(np.uint8)
    plasma = image[:180].min(axis=2) > 236
    assert normalise_stain(yellow)[:180][plasma].mean(axis=0).min() > 240


def test_a_field_without_two_stains_comes_back_as_it_was(image: Pixels) -> None:
    empty = to_model_input(draw_smear(1, red_cells=0, nucleated_cells=0))
    assert np.array_equal(normalise_stain(empty), empty)
    grey = to_grey(image)
    grey[-MASK_SIZE:, -MASK_SIZE:] = MASK_COLOUR
    assert np.array_equal(normalise_stain(grey), grey)


@pytest.mark.dataset
def test_cells_of_real_fields_get_like_colours_whatever_their_class(dataset: Path) -> None:
    before, after, plasma = [], [], []
    for label in LABELS:
        files = sorted((dataset / label).iterdir())[::40][:8]
        images = [load_model_input(file, max_pixels=10**6) for file in files]
        normalised = [normalise_stain(image) for image in images]
        cells = [cell_mask(image) for image in images]
        pairs = list(zip(images, normalised, cells, strict=True))
        before.append(np.mean([image[mask].mean(axis=0) for image, _, mask in pairs], axis=0))
        after.append(np.mean([image[mask].mean(axis=0) for _, image, mask in pairs], axis=0))
        plasma += [np.percentile(image.min(axis=2), 90) for image in normalised]
    assert np.ptp(after, axis=0).max() < 0.6 * np.ptp(before, axis=0).max()
    assert min(plasma) > 235
