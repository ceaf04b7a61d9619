"""Superpixels on nuclei: the parts of a field that are hidden and shown as wholes.

Each stained cell is one superpixel, so that an explanation speaks of cells. What lies between them
is cut into coarse tiles that follow the red cells. Cells that touch are parted where the distance
to their outline has a saddle.

Sources: Beucher and Lantuejoul 1979 (watershed); Achanta et al. 2012, IEEE Trans. Pattern Anal.
Mach. Intell. 34:2274 (SLIC), limited to a mask: Irving 2016 (arXiv 1606.09518).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.morphology import disk, remove_small_holes, remove_small_objects
from skimage.segmentation import slic, watershed

from shared.imaging import Pixels
from shared.imaging.mask import visible_pixels
from shared.imaging.segment import cell_mask

Superpixels = NDArray[np.int32]
"""The superpixel of each pixel, 0 to k - 1, shape (224, 224)."""

MAX_CELLS = 40
"""Most cells of one field that are superpixels of their own; the thickest are."""

TILE_AREA = 1600
"""Pixels of a tile, about 40 x 40: four times a cell of the ALL set."""

SPECK_AREA = 60
"""Pixels: a stained spot up to this size is a platelet or dirt, a hole of it part of its cell."""

CELL_DISTANCE = 8
"""Pixels between the centres of two cells; a cell of the ALL set is 16 to 30 wide."""

_SMOOTHING = 1.5  # of the distances, in pixels: a rough outline has more than one summit
_COMPACTNESS = 20.0


def superpixels(image: Pixels) -> Superpixels:
    """Cut a field into its cells and what lies between them.

    The corner of the scale bar belongs to the superpixels beside it.

    Args:
        image: A model's input, shape (224, 224, 3).

    Returns:
        Shape (224, 224), at most about 80 superpixels; no number is left out.
    """
    visible = visible_pixels()
    cells = _cells(cell_mask(image) & visible)
    sizes = np.bincount(cells.ravel())
    large = np.flatnonzero(sizes[1:] > TILE_AREA) + 1
    labels = np.where(np.isin(cells, large), 0, cells)
    for part in (*(cells == number for number in large), visible & (cells == 0)):
        labels = np.where(part, labels.max() + _tiles(image, part), labels)
    labels[np.bincount(labels.ravel())[labels] <= SPECK_AREA] = 0  # slivers between cells
    nearest = ndimage.distance_transform_edt(
        labels == 0, return_distances=False, return_indices=True
    )
    _, dense = np.unique(labels[tuple(nearest)], return_inverse=True)
    return dense.astype(np.int32)


def _cells(stained: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Number the cells from 1; what is none has 0."""
    opened = ndimage.binary_opening(stained, disk(1))
    solid = remove_small_holes(opened, max_size=SPECK_AREA)
    solid = remove_small_objects(solid, max_size=SPECK_AREA)
    # A cell that the edge cuts has its summit inside, as others have, by the border of zeros.
    depth = ndimage.distance_transform_edt(np.pad(solid, 1))[1:-1, 1:-1]
    depth = ndimage.gaussian_filter(depth, _SMOOTHING)
    summits = peak_local_max(
        depth,
        min_distance=CELL_DISTANCE,
        exclude_border=False,
        num_peaks=MAX_CELLS,
        labels=solid.astype(np.int32),
    )
    markers = np.zeros(solid.shape, dtype=np.int64)
    markers[tuple(summits.T)] = np.arange(1, len(summits) + 1)
    parted: NDArray[np.int64] = watershed(-depth, markers, mask=solid).astype(np.int64)
    return parted


def _tiles(image: Pixels, part: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Cut a part of a field into tiles that follow its colours, numbered from 1."""
    wanted = round(part.sum() / TILE_AREA)
    if wanted < 2:
        return part.astype(np.int64)
    tiles: NDArray[np.int64] = slic(
        image, n_segments=wanted, compactness=_COMPACTNESS, sigma=2, mask=part, start_label=1
    ).astype(np.int64)
    return tiles
