"""Plain fields with cells at known places."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from shared.imaging import Pixels

PLASMA, CELL = (238, 241, 247), (98, 56, 172)


def discs(centres: Iterable[tuple[int, int]], *, radius: int = 12) -> Pixels:
    """Round cells on plasma, shape (224, 224, 3); centres are row and column."""
    field = np.full((224, 224, 3), PLASMA, dtype=np.uint8)
    rows, columns = np.ogrid[:224, :224]
    for row, column in centres:
        field[(rows - row) ** 2 + (columns - column) ** 2 <= radius**2] = CELL
    return field
