"""What an attribution says of cells, of chance and of the hidden corner."""

from __future__ import annotations

import numpy as np
import pytest

from shared.explanations.attribution import shares, visible_part
from shared.imaging import Pixels
from shared.imaging.mask import MASK_COLOUR, MASK_SIZE
from shared.imaging.segment import cell_mask
from tests.networks import drawn

VIOLET = (110, 60, 160)


def field_with_a_cell() -> Pixels:
    """A cell of 56 x 56 pixels on plasma."""
    image = np.full((224, 224, 3), MASK_COLOUR, np.uint8)
    image[28:84, 28:84] = VIOLET
    return image


def test_a_uniform_attribution_has_the_share_of_chance() -> None:
    image = field_with_a_cell()
    found = shares(np.ones((224, 224), np.float32), image)
    assert found.chance == pytest.approx(56**2 / (224**2 - MASK_SIZE**2))
    assert found.on_cells == pytest.approx(found.chance)
    assert found.hidden == pytest.approx(MASK_SIZE**2 / 224**2)


def test_what_lies_on_cells_alone_is_on_cells() -> None:
    image = field_with_a_cell()
    found = shares(cell_mask(image).astype(np.float32), image)
    assert (found.on_cells, found.hidden) == (1, 0)


def test_what_lies_on_the_hidden_corner_alone_is_nowhere_else() -> None:
    corner = np.zeros((224, 224), np.float32)
    corner[-MASK_SIZE:, -MASK_SIZE:] = 1
    found = shares(corner, field_with_a_cell())
    assert (found.on_cells, found.hidden) == (0, 1)
    assert not visible_part(corner).any()


def test_nothing_is_shown_on_the_corner_and_the_rest_keeps_its_proportions() -> None:
    attribution = np.full((2, 224, 224), 0.25, np.float32)
    attribution[:, :10], attribution[:, -1, -1] = 0.5, 1
    seen = visible_part(attribution)
    assert not seen[:, -MASK_SIZE:, -MASK_SIZE:].any()
    assert seen[:, 0, 0] == pytest.approx([1, 1]) and seen[:, 100, 100] == pytest.approx([0.5, 0.5])
    assert attribution[0, -1, -1] == 1  # what was given is left as it is


def test_an_empty_attribution_has_no_share() -> None:
    found = shares(np.zeros((224, 224), np.float32), drawn(1)[0])
    assert (found.on_cells, found.hidden) == (0, 0)
    assert found.chance > 0
