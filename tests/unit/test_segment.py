"""Segmentation keeps nucleated cells and blacks out everything else."""

import colorsys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.imaging.decode import load_model_input, to_model_input
from shared.imaging.mask import MASK_SIZE
from shared.imaging.segment import LOWEST_HUE, MIN_SATURATION, MIN_VALUE, cell_mask, segment
from shared.local.synthetic import draw_smear
from shared.triage.labels import LABELS

PLASMA, RED_CELL = (238, 241, 247), (172, 184, 204)
CYTOPLASM, NUCLEUS = (150, 128, 214), (98, 56, 172)


def _uniform(colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((4, 4, 3), colour, dtype=np.uint8)


@pytest.mark.parametrize("colour", [CYTOPLASM, NUCLEUS, (212, 130, 230)])
def test_stained_cells_are_kept(colour: tuple[int, int, int]) -> None:
    assert cell_mask(_uniform(colour)).all()
    assert np.array_equal(segment(_uniform(colour)), _uniform(colour))


@pytest.mark.parametrize(
    "colour", [PLASMA, RED_CELL, (0, 0, 0), (255, 255, 255), (30, 10, 40), (230, 120, 120)]
)
def test_plasma_red_cells_black_white_soot_and_pink_are_blacked_out(
    colour: tuple[int, int, int],
) -> None:
    assert not segment(_uniform(colour)).any()


def test_the_mask_is_what_the_thresholds_say_of_any_colour() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (2000, 3), dtype=np.uint8)
    for colour, kept in zip(colours, cell_mask(colours[np.newaxis])[0], strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*(int(channel) / 255 for channel in colour))
        expected = (
            LOWEST_HUE - 1e-9 <= hue * 360 <= 300 + 1e-9
            and saturation * 255 >= MIN_SATURATION - 0.5
            and value * 255 >= MIN_VALUE
        )
        assert kept == expected, colour


def test_drawn_nucleated_cells_are_found_and_drawn_red_cells_are_not() -> None:
    without = to_model_input(draw_smear(1, nucleated_cells=0))
    with_cells = to_model_input(draw_smear(1, red_cells=0, nucleated_cells=9))
    assert cell_mask(without).mean() < 0.001
    drawn = np.abs(with_cells.astype(int) - PLASMA).sum(axis=2) > 150
    drawn[-MASK_SIZE:, -MASK_SIZE:] = False
    found = cell_mask(with_cells)
    assert (found & drawn).sum() / (found | drawn).sum() > 0.9


def test_a_batch_is_segmented_as_its_images_are_and_its_corner_is_black() -> None:
    images = np.stack([to_model_input(draw_smear(seed)) for seed in (1, 2)])
    segmented = segment(images)
    assert cell_mask(images).shape == images.shape[:-1]
    assert np.array_equal(segmented[1], segment(images[1]))
    assert not segmented[:, -MASK_SIZE:, -MASK_SIZE:].any()


@pytest.mark.dataset
def test_real_fields_keep_their_cells_and_lose_the_rest(dataset: Path) -> None:
    for label in LABELS:
        files = sorted((dataset / label).iterdir())[::40][:10]
        images = np.stack([load_model_input(file, max_pixels=10**6) for file in files])
        mask = cell_mask(images)
        shares = mask.mean(axis=(1, 2))
        assert shares.min() > 0.005
        assert shares.max() < 0.4
        # Cells absorb more green light than what is blacked out.
        green = images[..., 1].astype(float)
        assert green[mask].mean() < green[~mask].mean() - 30


@pytest.mark.dataset
def test_real_fields_of_early_and_pre_b_agree_with_the_authors_thresholds(dataset: Path) -> None:
    for label in ("Early", "Pre"):
        files = sorted((dataset / label).iterdir())[::40][:10]
        images = [load_model_input(file, max_pixels=10**6) for file in files]
        ours, theirs = cell_mask(np.stack(images)), np.stack([_authors_mask(i) for i in images])
        assert (ours & theirs).sum() / (ours | theirs).sum() > 0.95


def _authors_mask(image: np.ndarray) -> np.ndarray:
    """The published thresholds, on channels swapped as in the published code."""
    swapped = np.asarray(Image.fromarray(image[..., ::-1].copy()).convert("HSV"), dtype=float)
    hue = swapped[..., 0] * 180 / 255
    mask: np.ndarray = (hue >= 168) & (swapped[..., 1] >= 50) & (swapped[..., 2] >= 50)
    return mask
