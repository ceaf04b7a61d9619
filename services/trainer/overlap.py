"""Finds fields that show the same area of a slide, from their pixels alone.

Two stages: `screening` compares all pairs cheaply; here each pair that is left is laid one upon
the other, turned and scaled a little where needed, and correlated over the area that both show.

A pair counts as an overlap by its evidence, a correlation in units of what chance gives. Measured
on 2,600 fields (3.4 million pairs): pairs of different classes, none of which overlaps, reach 2.2;
pairs known to overlap start at 4.3, and at 6.9 where each is turned to fit best. Only pairs below
the threshold are turned, as it takes time.

What it does not find: fields that share less than about a tenth of their area, or lie turned by
more than about five degrees.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, optimize
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from services.trainer.screening import (
    SIDE,
    SMALLEST_SHARE,
    VISIBLE,
    Grey,
    find_candidates,
    grey_details,
)
from services.trainer.waiting import with_bar
from shared.imaging import Pixels

DETECTOR = 1
"""Version of the detection; a change of what it finds gives it another."""

THRESHOLD = 4.0
"""Evidence from which two fields count as overlapping."""

_WORTH_TURNING = 1.5
_STRUCTURES_FOR_TURNING = 16  # with fewer, a turn fits single cells of unlike fields together
_REACH = 2  # pixels of SIDE around the screened shift, which is known to two of them
_BLOCK = 8  # pixels of SIDE: about a cell
_TURNS = (-6.0, -3.0, 0.0, 3.0, 6.0)  # hundredths of a radian
_LARGEST_CORRELATION = 0.99  # atanh has no end; beyond it copies only differ in noise

_DOWN, _RIGHT = np.mgrid[:SIDE, :SIDE]
_CENTRE = (SIDE - 1) / 2


@dataclass(frozen=True, order=True)
class Overlap:
    """Two fields that show the same area.

    `first` and `second` are positions in the input. `share` is the part of a field that both show,
    without the corners of the scale bar; `correlation` is that of their grey values there;
    `evidence` is what `THRESHOLD` is compared with.
    """

    first: int
    second: int
    share: float
    correlation: float
    evidence: float


@dataclass(frozen=True)
class _Fit:
    evidence: float = 0.0
    correlation: float = 0.0
    structures: float = 0.0
    share: float = 0.0


def find_overlaps(images: Iterable[Pixels]) -> list[Overlap]:
    """Find all pairs of fields that show the same area.

    About a minute for 2,600 fields on two cores; the time grows with the square of their number,
    the memory with their number (75 kB a field).

    Args:
        images: Fields of shape (224, 224, 3); copies of one field are pairs too.
    """
    details = grey_details(images)
    candidates = find_candidates(details)
    fits = [
        _fit(details[first], details[second], down, right)
        for first, second, down, right in with_bar(candidates, "Checking overlaps")
    ]
    return sorted(
        Overlap(first, second, fit.share, fit.correlation, fit.evidence)
        for (first, second, *_), fit in zip(candidates, fits, strict=True)
        if fit.evidence >= THRESHOLD
    )


def connect(count: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """Number the groups of items that are linked, directly or by others.

    Args:
        count: Number of items.
        pairs: Links between positions of items.

    Returns:
        For each item the number of its group.
    """
    links = np.array(list(pairs), dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(links)), (links[:, 0], links[:, 1])), shape=(count, count))
    numbers: list[int] = connected_components(graph, directed=False)[1].tolist()
    return numbers


def _fit(first: Grey, second: Grey, down: int, right: int) -> _Fit:
    """How well two fields fit near a shift."""
    reach = range(-_REACH, _REACH + 1)
    shifts = [(down + y, right + x) for y in reach for x in reach]
    fits = [_shifted(first, second, *shift) for shift in shifts]
    best = max(range(len(fits)), key=lambda place: fits[place].evidence)
    fit = fits[best]
    if _WORTH_TURNING <= fit.evidence < THRESHOLD and fit.structures >= _STRUCTURES_FOR_TURNING:
        return _turned(first, second, shifts[best])
    return fit


def _shifted(first: Grey, second: Grey, down: int, right: int) -> _Fit:
    height, width = SIDE - abs(down), SIDE - abs(right)
    if height <= 0 or width <= 0:
        return _Fit()
    top, left = max(0, -down), max(0, -right)
    here = np.s_[top : top + height, left : left + width]
    there = np.s_[top + down : top + down + height, left + right : left + right + width]
    return _measure(first[here], second[there], (VISIBLE[here] * VISIBLE[there]) > 0)


def _turned(first: Grey, second: Grey, shift: tuple[int, int]) -> _Fit:
    """The best fit if the second field may also be turned and scaled a little about its middle."""
    starts = [np.array([*shift, 0.0, turn]) for turn in _TURNS]
    start = max(starts, key=lambda place: _placed(first, second, place).evidence)
    found = optimize.minimize(
        lambda place: -_placed(first, second, place).evidence,
        start,
        method="Nelder-Mead",
        options={
            "initial_simplex": start + np.vstack([np.zeros(4), 3 * np.eye(4)]),
            "maxfev": 120,
        },
    )
    return _placed(first, second, found.x)


def _placed(first: Grey, second: Grey, place: NDArray[np.float64]) -> _Fit:
    """Fit at a shift in pixels, a log scale and a turn in radians, both times 100."""
    down, right, scale, turn = place
    factor = np.exp(scale / 100) * np.exp(1j * turn / 100)
    point = factor * ((_RIGHT - _CENTRE) + 1j * (_DOWN - _CENTRE))
    rows, columns = point.imag + _CENTRE + down, point.real + _CENTRE + right
    inside = (rows >= 0) & (rows <= SIDE - 1) & (columns >= 0) & (columns <= SIDE - 1)
    seen = inside & (VISIBLE > 0)
    nearest = (np.rint(rows[seen]).astype(np.int64), np.rint(columns[seen]).astype(np.int64))
    seen[seen] = VISIBLE[nearest] > 0
    laid = np.zeros_like(first)
    laid[seen] = ndimage.map_coordinates(second, [rows[seen], columns[seen]], order=1)
    return _measure(first, laid, seen)


def _measure(a: Grey, b: Grey, seen: NDArray[np.bool_]) -> _Fit:
    """Correlation of grey values where both are seen, and what it is worth.

    The evidence is atanh(r) * sqrt(n - 3): by chance it has a spread of 1 (Fisher 1921, Metron
    1:3). n is no count of pixels, as neighbours show the same cell, but of the cell-sized blocks
    that carry the correlation: (sum c)^2 / sum c^2 of their contributions c, where sum c^2 is the
    mean over all places of the grid of blocks. Where a single pair of cells happens to fit, n is
    small and the evidence with it.
    """
    pixels = np.count_nonzero(seen)
    if pixels < SMALLEST_SHARE * SIDE**2:
        return _Fit()
    a, b = (np.where(seen, values - values[seen].mean(), 0) for values in (a, b))
    products = a * b
    total = float(products.sum())
    correlation = total / float(np.sqrt((a * a).sum() * (b * b).sum() + 1e-3))
    blocks = ndimage.uniform_filter(np.pad(products, _BLOCK), _BLOCK, mode="constant")
    structures = total**2 / (float((blocks * blocks).sum()) * _BLOCK**2 + 1e-6)
    bounded = min(max(correlation, 0.0), _LARGEST_CORRELATION)
    evidence = float(np.arctanh(bounded) * np.sqrt(max(structures - 3, 0)))
    return _Fit(evidence, correlation, structures, pixels / SIDE**2)
