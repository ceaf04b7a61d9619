"""What an attribution says: where in the field a model's evidence for a class lies.

An attribution has a value for each pixel of a model's input, none below zero and the largest 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.imaging import Pixels
from shared.imaging.mask import visible_pixels
from shared.imaging.segment import cell_mask
from shared.models.gradcam import scaled

Attribution = NDArray[np.float32]


@dataclass(frozen=True)
class Shares:
    """Which part of an attribution lies where."""

    on_cells: float
    """Of what lies on visible pixels: the share on stained cells; 0 where there is nothing."""
    chance: float
    """The cells' share of the visible area: what an attribution that knows nothing would have."""
    hidden: float
    """Of all: the share on the corner that is hidden from every model. It comes from a map that is
    coarser than the corner, and is never shown."""


def visible_part(attribution: Attribution) -> Attribution:
    """The attribution of the pixels that a model saw: the corner of the scale bar gets none.

    Args:
        attribution: Shape (..., 224, 224).

    Returns:
        The same shape; the largest value is 1 again, unless all are 0.
    """
    return scaled(np.where(visible_pixels(), attribution, np.float32(0)))


def shares(attribution: Attribution, image: Pixels) -> Shares:
    """Measure an attribution against the cells of its image.

    Args:
        attribution: Shape (224, 224), before its hidden part is removed.
        image: The model's input, shape (224, 224, 3).
    """
    cells, is_seen = cell_mask(image), visible_pixels()
    seen = np.where(is_seen, attribution, 0)
    total, visible = float(attribution.sum()), float(seen.sum())
    return Shares(
        on_cells=float(seen[cells].sum()) / visible if visible else 0.0,
        chance=float(cells.sum()) / float(is_seen.sum()),
        hidden=1 - visible / total if total else 0.0,
    )
