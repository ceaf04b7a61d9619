"""Whether memory grows: a robust estimate over series that restarts cut into pieces.

The slope is the weighted median of the slopes of all pairs of samples of one piece, weighted by
how far apart in time they are: Theil 1950 and Sen 1968 (J. Am. Stat. Assoc. 63:1379) with the
weights of Jaeckel 1972 (Ann. Math. Stat. 43:1449). Up to 29 % of samples may be anything. Pairs
of two pieces say nothing, since between them is a restart, or another model was loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LIMIT = 0.05
"""The largest growth over a run, as a share of the median."""

LEAST_SECONDS = 300.0
"""A role that was seen for a shorter time, beginnings left out, is not judged."""

_LEAST_SAMPLES = 8
_MOST_SAMPLES = 600  # of a piece: its pairs are 180,000

Piece = Sequence[tuple[float, float]]
"""Samples of one process between two breaks: seconds, bytes."""


@dataclass(frozen=True)
class Growth:
    """What one role's memory does. Bytes and seconds."""

    median: float
    slope: float
    """Bytes a second."""
    duration: float
    """Of the whole run after its warm-up: what the slope is taken to last for."""
    covered: float
    """Of the samples that the slope rests on."""

    @property
    def share(self) -> float:
        """Growth over the run, as a share of the median."""
        return self.slope * self.duration / self.median

    @property
    def is_judged(self) -> bool:
        """Whether it was seen for long enough: in its first minutes every process grows."""
        return self.covered >= LEAST_SECONDS

    @property
    def is_flat(self) -> bool:
        """Whether it grows by less than the limit; that it shrinks is no fault."""
        return self.share < LIMIT or not self.is_judged


def growth(pieces: Sequence[Piece], *, duration: float, settle: float) -> Growth | None:
    """Estimate the growth of one role.

    Args:
        pieces: Its samples.
        duration: Seconds of the run after its warm-up.
        settle: Seconds at the beginning of each piece that do not count: caches fill then.

    Returns:
        None where no piece is long enough to say anything.
    """
    kept = [[s for s in piece if s[0] >= piece[0][0] + settle] for piece in pieces if piece]
    arrays = [_thinned(np.array(piece)) for piece in kept if len(piece) >= _LEAST_SAMPLES]
    if not arrays:
        return None
    pairs = [_slopes(array[:, 0], array[:, 1]) for array in arrays]
    slopes, weights = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    values = np.concatenate([array[:, 1] for array in arrays])
    return Growth(
        median=float(np.median(values)),
        slope=_weighted_median(slopes, weights),
        duration=duration,
        covered=float(sum(array[-1, 0] - array[0, 0] for array in arrays)),
    )


def _thinned(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    return samples[:: max(1, -(-len(samples) // _MOST_SAMPLES))]


def _slopes(
    at: NDArray[np.float64], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first, second = np.triu_indices(len(at), k=1)
    apart = at[second] - at[first]
    return (values[second] - values[first]) / apart, apart


def _weighted_median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(reached, reached[-1] / 2)])
