"""A field is cut into its cells, and what lies between them into tiles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from skimage.morphology import remove_small_objects

from shared.explanations.superpixels import MAX_CELLS, SPECK_AREA, superpixels
from shared.imaging import Pixels
from shared.imaging.decode import load_model_input, to_model_input
from shared.imaging.mask import MASK_SIZE, mask_scale_bar
from shared.imaging.segment import cell_mask
from shared.local.synthetic import draw_smear
from shared.triage.labels import LABELS
from tests.unit.explanations.fields import CELL, PLASMA, discs

MOST = 80


def dots() -> Pixels:
    """More cells than may be superpixels."""
    return discs([(y, x) for y in range(8, 224, 16) for x in range(8, 224, 16)], radius=6)


FIELDS: dict[str, Pixels] = {
    "drawn": to_model_input(draw_smear(1)),
    "no cell": to_model_input(draw_smear(1, nucleated_cells=0)),
    "plain": discs([]),
    "all cell": np.full((224, 224, 3), CELL, dtype=np.uint8),
    "half cell": np.vstack([np.full((112, 224, 3), c, dtype=np.uint8) for c in (CELL, PLASMA)]),
    "black": np.zeros((224, 224, 3), dtype=np.uint8),
    "noise": np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8),
    "many cells": dots(),
}


@pytest.mark.parametrize("name", FIELDS)
def test_any_field_is_covered_by_a_bounded_number_without_gaps(name: str) -> None:
    found = superpixels(mask_scale_bar(FIELDS[name]))
    assert found.shape == (224, 224)
    assert found.dtype == np.int32
    numbers = np.unique(found)
    assert np.array_equal(numbers, np.arange(len(numbers)))
    assert 20 <= len(numbers) <= MOST
    assert np.bincount(found.ravel()).min() > SPECK_AREA


@pytest.mark.parametrize("name", FIELDS)
def test_the_hidden_corner_is_no_superpixel_of_its_own(name: str) -> None:
    found = superpixels(mask_scale_bar(FIELDS[name]))
    visible = found.copy()
    visible[-MASK_SIZE:, -MASK_SIZE:] = -1
    assert set(np.unique(found)) == set(np.unique(visible)) - {-1}


def test_the_same_field_is_cut_the_same_way() -> None:
    assert np.array_equal(superpixels(FIELDS["drawn"]), superpixels(FIELDS["drawn"]))


def test_each_cell_is_one_superpixel_and_no_tile_has_a_part_of_it() -> None:
    image = to_model_input(draw_smear(3, red_cells=30, nucleated_cells=8))
    found = superpixels(image)
    solid = remove_small_objects(cell_mask(image), max_size=100)
    cells, count = ndimage.label(ndimage.binary_opening(solid, iterations=3))
    assert count >= 6
    owners = []
    for number in range(1, count + 1):
        owner = np.bincount(found[cells == number])
        assert owner.max() / owner.sum() > 0.97
        owners.append(int(owner.argmax()))
        own = found == owners[-1]
        own[-MASK_SIZE:, -MASK_SIZE:] = False
        assert cell_mask(image)[own].mean() > 0.9
    assert len(set(owners)) == count


def test_cells_that_touch_are_parted() -> None:
    found = superpixels(discs([(100, 90), (100, 110)], radius=11))
    assert found[100, 85] != found[100, 115]
    assert (found == found[100, 85]).sum() == pytest.approx(np.pi * 11**2, rel=0.1)


def test_specks_are_no_cells_and_small_holes_are_filled() -> None:
    image = discs([(60, 60)], radius=12)
    image[60:63, 60:63] = PLASMA
    image[120:124, 120:124] = CELL
    found = superpixels(image)
    assert found[61, 61] == found[52, 60]
    assert found[121, 121] == found[121, 128]


def test_of_too_many_cells_some_are_left_to_the_tiles() -> None:
    sizes = np.bincount(superpixels(mask_scale_bar(dots())).ravel())
    assert (sizes < 200).sum() <= MAX_CELLS


@pytest.mark.dataset
def test_real_fields_have_superpixels_on_their_cells(dataset: Path) -> None:
    for label in LABELS:
        for file in sorted((dataset / label).iterdir())[::100]:
            image = load_model_input(file, max_pixels=10**6)
            found = superpixels(image)
            mask = cell_mask(image)
            assert 20 <= found.max() + 1 <= MOST
            share = np.bincount(found.ravel(), mask.ravel()) / np.bincount(found.ravel())
            on_cells = mask & (share > 0.7)[found]
            assert on_cells.sum() / mask.sum() > 0.6, file.name
