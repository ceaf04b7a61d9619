"""How far a window of use has drifted from a version's reference: PSI, KS, and a verdict.

Fields of one job are of one specimen and resemble each other, so that a window has fewer
independent observations than fields. All that depends on its size uses `effective_size`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.monitoring.measures import Observations

Numbers = NDArray[np.float64]

WATCH_ABOVE, ALERT_ABOVE = 0.10, 0.25
"""Conventional levels of PSI (Siddiqi 2006, Credit Risk Scorecards, Wiley)."""
KS_WATCH_ABOVE = 0.10
"""Least KS statistic that counts; smaller ones may be certain, but matter to nobody."""
FALSE_ALARM = 1e-5
"""How often noise may look like more than noise, in one measure of one window: there are a dozen
measures, and as many windows as looks."""
LEAST = 50
"""Fewest images of a reference, and least effective size of a window, for a verdict."""

_ATOM = 5
"""Quantiles that a value must fill to have a bin of its own."""
_NORMAL_QUANTILE = NormalDist().inv_cdf(1 - FALSE_ALARM)
_SERIES = np.arange(1, 101)
_SMALL_LAMBDA = 1.18


class Level(StrEnum):
    """What is to be thought of a measure."""

    OK = "ok"  # no drift that matters, or none that noise does not explain
    WATCH = "watch"
    ALERT = "alert"
    TOO_FEW = "too_few"  # no verdict: too few images in the window or in the reference
    NO_REFERENCE = "no_reference"  # no verdict: the version's card has none of this measure

    @property
    def is_verdict(self) -> bool:
        """Whether enough was known to tell."""
        return self not in (Level.TOO_FEW, Level.NO_REFERENCE)


@dataclass(frozen=True)
class Drift:
    """How far one measure has drifted.

    Attributes:
        measure: Its name, see `shared.monitoring.measures`.
        fields: How many fields of the window have it.
        level: The verdict.
        psi: Population stability index, from 0; None without a reference or without fields.
        noise: What PSI exceeds without drift in one of 1 / `FALSE_ALARM` windows of this size.
        ks: Two-sample Kolmogorov-Smirnov statistic, 0 to 1; None for categories.
        ks_p: Its asymptotic p-value.
    """

    measure: str
    fields: int
    level: Level
    psi: float | None = None
    noise: float | None = None
    ks: float | None = None
    ks_p: float | None = None

    @property
    def is_calm(self) -> bool:
        """Whether it is `ok` by a margin: what an alert ends at, so that none flickers."""
        if self.level is not Level.OK or self.psi is None or self.noise is None:
            return False
        return self.psi <= max(WATCH_ABOVE, self.noise / 2)


def effective_size(job_sizes: Sequence[int]) -> float:
    """How many independent observations jobs of so many fields are worth, at the least.

    Kish's effective size (Kish 1965, Survey Sampling, Wiley) for fields of one job that are all
    the same; the number of jobs where all are of one size.
    """
    squares = sum(size**2 for size in job_sizes)
    return sum(job_sizes) ** 2 / squares if squares else 0.0


def compare(
    reference: Mapping[str, Any] | None, observed: Observations, effective: float
) -> list[Drift]:
    """Compare a window with a reference, measure by measure.

    Args:
        reference: What a card has under `monitoring`; None where it has nothing.
        observed: The measures of the window.
        effective: Its effective size; at most its fields.

    Returns:
        One for each measure that the window or the reference has, by name.
    """
    known = reference or {"images": 0, "continuous": {}, "categorical": {}}
    window = _Window(known["images"], observed.fields, effective)
    continuous, categorical = known["continuous"], known["categorical"]
    drifts = [
        window.of_values(name, continuous.get(name), observed.continuous.get(name, np.empty(0)))
        for name in observed.continuous.keys() | continuous.keys()
    ] + [
        window.of_categories(name, categorical.get(name), observed.categorical.get(name, {}))
        for name in observed.categorical.keys() | categorical.keys()
    ]
    return sorted(drifts, key=lambda drift: drift.measure)


@dataclass(frozen=True)
class _Window:
    """Sizes of the two samples, in images; `effective` of the window."""

    images: int
    fields: int
    effective: float

    def of_values(self, name: str, known: Mapping[str, Any] | None, values: Numbers) -> Drift:
        if known is None or not values.size:
            return self._without_values(name, known, values.size)
        quantiles = np.array(known["quantiles"], dtype=np.float64)
        edges, shares = reference_bins(quantiles)
        bins = np.searchsorted(edges, values)
        counts = np.bincount(bins, minlength=shares.size).astype(np.float64)
        size = self._size(values.size)
        psi, noise = stability(shares * self.images, counts * (size / values.size))
        ks = ks_statistic(quantiles, values)
        p = ks_p_value(ks, size, self.images)
        level = self._level(size, psi, noise)
        if level is Level.OK and ks > KS_WATCH_ABOVE and p < FALSE_ALARM:
            level = Level.WATCH
        return Drift(name, values.size, level, psi, noise, ks, p)

    def of_categories(
        self, name: str, known: Mapping[str, Any] | None, counts: Mapping[str, int]
    ) -> Drift:
        fields = sum(counts.values())
        if known is None or not fields:
            return self._without_values(name, known, fields)
        names = sorted(known["counts"].keys() | counts.keys())
        expected = np.array([known["counts"].get(each, 0) for each in names], dtype=np.float64)
        found = np.array([counts.get(each, 0) for each in names], dtype=np.float64)
        size = self._size(fields)
        psi, noise = stability(expected, found * (size / fields))
        return Drift(name, fields, self._level(size, psi, noise), psi, noise)

    def _without_values(self, name: str, known: Mapping[str, Any] | None, fields: int) -> Drift:
        return Drift(name, fields, Level.NO_REFERENCE if known is None else Level.TOO_FEW)

    def _size(self, fields: int) -> float:
        """Effective size of the part of the window that has a measure."""
        return self.effective * fields / self.fields

    def _level(self, size: float, psi: float, noise: float) -> Level:
        if size < LEAST or self.images < LEAST:
            return Level.TOO_FEW
        if psi <= max(WATCH_ABOVE, noise):
            return Level.OK
        return Level.ALERT if psi > ALERT_ABOVE else Level.WATCH


def reference_bins(quantiles: Numbers) -> tuple[Numbers, Numbers]:
    """Bins of a reference: between its deciles; a value that occurs often has one of its own.

    Args:
        quantiles: The 101 quantiles, shape (101,).

    Returns:
        Upper edges (inclusive) of all bins but the last, which is open; and the share of the
        reference in each, known to a hundredth.
    """
    deciles = np.unique(quantiles[10:91:10])
    filled = np.searchsorted(quantiles, deciles, "right") - np.searchsorted(quantiles, deciles)
    below_atoms = np.nextafter(deciles[filled >= _ATOM], -np.inf)
    edges = np.unique(np.concatenate([deciles, below_atoms]))
    up_to = np.concatenate([[0.0], _share_up_to(quantiles, edges), [1.0]])
    return edges, np.diff(up_to)


def stability(reference: Numbers, window: Numbers) -> tuple[float, float]:
    """PSI of two samples, and what it exceeds by noise alone in `FALSE_ALARM` of all windows.

    PSI is the sum of (p - q) ln(p / q) over the bins. Half an observation is added to each bin of
    both samples, so that an empty bin counts as a rare one; a bin that is empty in both is left
    out. Without drift, PSI is distributed as (1/n + 1/m) chi-square with one degree of freedom less
    than bins (Yurdakul 2018, Statistical Properties of Population Stability Index, Western
    Michigan University); its quantile is by Wilson and Hilferty 1931, PNAS 17:684.

    Args:
        reference: Observations in each bin, shape (bins,).
        window: The same of the window; need not be whole numbers.
    """
    used = (reference > 0) | (window > 0)
    expected, found = reference[used] + 0.5, window[used] + 0.5
    q, p = expected / expected.sum(), found / found.sum()
    psi = float(np.sum((p - q) * np.log(p / q)))
    freedom = int(used.sum()) - 1
    noise = (1 / window.sum() + 1 / reference.sum()) * _chi_square_quantile(freedom)
    return psi, float(noise)


def ks_statistic(quantiles: Numbers, values: Numbers) -> float:
    """Greatest distance between the distribution functions of the reference and of the window.

    The reference is known by its quantiles: the result is at most the distance between the whole
    samples, and at most 0.01 less.

    Args:
        quantiles: The 101 quantiles of the reference, shape (101,).
        values: The window, shape (n,), n > 0.
    """
    points = np.unique(quantiles)
    ordered = np.sort(values)
    at_or_below = np.searchsorted(ordered, points, "right") / ordered.size
    below = np.searchsorted(ordered, points) / ordered.size
    lower = _share_up_to(quantiles, points) - at_or_below
    higher = below - np.searchsorted(quantiles, points) / 100
    return float(max(lower.max(), higher.max(), 0.0))


def ks_p_value(statistic: float, n: float, m: float) -> float:
    """How likely samples of one distribution differ as much or more.

    The limit for large samples (Smirnov 1948, Ann. Math. Stat. 19:279) with the correction for
    small ones of Stephens 1970, J. R. Stat. Soc. B 32:115. Conservative where values are tied.

    Args:
        statistic: The KS statistic.
        n: Size of one sample.
        m: Size of the other.
    """
    root = math.sqrt(n * m / (n + m))
    return kolmogorov((root + 0.12 + 0.11 / root) * statistic)


def kolmogorov(x: float) -> float:
    """Survival function of Kolmogorov's distribution: two series, each where it is short."""
    if x <= 0:
        return 1.0
    if x < _SMALL_LAMBDA:
        terms = np.exp(-((2 * _SERIES - 1) ** 2) * (math.pi / x) ** 2 / 8)
        return 1 - math.sqrt(2 * math.pi) / x * float(terms.sum())
    signs = 1 - 2 * (_SERIES % 2 == 0)
    return 2 * float(np.sum(signs * np.exp(-2 * (_SERIES * x) ** 2)))


def _share_up_to(quantiles: Numbers, points: Numbers) -> Numbers:
    """The reference's distribution function, rounded down to a hundredth."""
    return np.maximum(np.searchsorted(quantiles, points, "right") - 1, 0) / 100


def _chi_square_quantile(freedom: int) -> float:
    if freedom < 1:
        return 0.0
    part = 2 / (9 * freedom)
    return float(freedom * (1 - part + _NORMAL_QUANTILE * math.sqrt(part)) ** 3)
