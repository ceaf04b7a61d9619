"""PSI and KS against known values, and the verdicts: no false alarms, no missed drift."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import special, stats

from shared.monitoring.drift import (
    FALSE_ALARM,
    Drift,
    Level,
    compare,
    effective_size,
    kolmogorov,
    ks_p_value,
    ks_statistic,
    reference_bins,
    stability,
)
from shared.monitoring.measures import Observations

Draw = Callable[[np.random.Generator, int], np.ndarray]

SHAPES: dict[str, Draw] = {
    "a bell": lambda rng, n: rng.normal(size=n),
    "confidences near 1": lambda rng, n: 1 - rng.beta(0.3, 8, size=n),
    "small counts": lambda rng, n: rng.poisson(3, size=n).astype(float),
    "mostly zero": lambda rng, n: np.where(rng.random(n) < 0.6, 0, rng.exponential(size=n)),
}
SHARES = {
    "classes": [0.16, 0.30, 0.30, 0.24],
    "urgencies": [0.80, 0.03, 0.02, 0.15],
    "a rare category": [0.97, 0.03],
}


def quantiles_of(values: np.ndarray) -> np.ndarray:
    return np.quantile(values, np.linspace(0, 1, 101), method="inverted_cdf")


def of_values(sample: np.ndarray, window: np.ndarray, effective: float | None = None) -> Drift:
    described = {"x": {"quantiles": quantiles_of(sample).tolist()}}
    reference = {"images": sample.size, "continuous": described, "categorical": {}}
    observed = Observations(window.size, {"x": window}, {})
    return compare(reference, observed, effective or window.size)[0]


def of_counts(known: dict[str, int], found: dict[str, int]) -> Drift:
    images, fields = sum(known.values()), sum(found.values())
    reference = {"images": images, "continuous": {}, "categorical": {"x": {"counts": known}}}
    return compare(reference, Observations(fields, {}, {"x": Counter(found)}), fields)[0]


def test_psi_has_the_value_of_its_formula() -> None:
    psi, _ = stability(np.array([499.5, 299.5, 199.5]), np.array([399.5, 299.5, 299.5]))
    expected = (0.4 - 0.5) * math.log(0.4 / 0.5) + (0.3 - 0.2) * math.log(0.3 / 0.2)
    assert psi == pytest.approx(expected, rel=1e-3)


def test_psi_of_equal_shares_is_nothing() -> None:
    assert stability(np.array([500.0, 500.0]), np.array([100.0, 100.0]))[0] == pytest.approx(0)


def test_an_empty_bin_counts_as_half_an_observation_and_one_empty_in_both_as_none() -> None:
    known, found = np.array([100.0, 0.0]), np.array([80.0, 20.0])
    psi, noise = stability(known, found)
    p, q = 20.5 / 101, 0.5 / 101
    assert psi == pytest.approx((p - q) * math.log(p / q) + (q - p) * math.log((1 - p) / (1 - q)))
    assert stability(np.append(known, 0), np.append(found, 0)) == (psi, noise)


def test_the_noise_of_psi_is_its_distribution_without_drift() -> None:
    _, noise = stability(np.full(10, 50.0), np.full(10, 10.0))
    assert noise == pytest.approx(
        (1 / 100 + 1 / 500) * stats.chi2.ppf(1 - FALSE_ALARM, 9), rel=0.02
    )


def test_kolmogorovs_distribution_is_scipys() -> None:
    for x in np.linspace(0.01, 4, 400):
        assert kolmogorov(x) == pytest.approx(special.kolmogorov(x), abs=1e-12)
    assert kolmogorov(0) == 1


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("shift", [0, 0.3, -1])
def test_ks_is_scipys_as_far_as_quantiles_tell(shape: str, shift: float) -> None:
    rng = np.random.default_rng(1)
    sample, window = SHAPES[shape](rng, 800), SHAPES[shape](rng, 300) + shift
    whole = stats.ks_2samp(sample, window, method="asymp")
    found = ks_statistic(quantiles_of(sample), window)
    assert whole.statistic - 0.01 - 1e-9 <= found <= whole.statistic + 1e-9
    p = ks_p_value(whole.statistic, 300, 800)
    assert p == pytest.approx(whole.pvalue, rel=0.2, abs=1e-12)


def test_bins_are_deciles_and_what_occurs_often_has_its_own() -> None:
    edges, shares = reference_bins(quantiles_of(np.arange(1000.0)))
    assert shares == pytest.approx(np.full(10, 0.1))
    assert edges.size == 9
    mostly_zero = np.concatenate([np.zeros(600), np.arange(1.0, 401)])
    edges, shares = reference_bins(quantiles_of(mostly_zero))
    below, at_zero = shares[:2]
    assert (below, at_zero) == (0, pytest.approx(0.6))
    assert shares.sum() == pytest.approx(1)


def test_a_reference_of_one_value_sees_a_change_to_either_side() -> None:
    constant = np.full(200, 1.0)
    assert of_values(constant, np.full(100, 1.0)).level is Level.OK
    for moved in (0.9, 1.1):
        assert of_values(constant, np.full(100, moved)).level is Level.ALERT


@pytest.mark.parametrize("images", [200, 2000])
@pytest.mark.parametrize("fields", [50, 100, 400])
@pytest.mark.parametrize("shape", SHAPES)
def test_no_drift_of_numbers_rarely_alerts(shape: str, fields: int, images: int) -> None:
    rng = np.random.default_rng(fields + images)
    draw, windows = SHAPES[shape], 400
    drifts = [of_values(draw(rng, images), draw(rng, fields)) for _ in range(windows)]
    assert sum(drift.level is Level.ALERT for drift in drifts) <= 0.01 * windows
    assert sum(drift.level is not Level.OK for drift in drifts) <= 0.02 * windows


@pytest.mark.parametrize("fields", [50, 100, 400])
@pytest.mark.parametrize("shares", SHARES)
def test_no_drift_of_categories_rarely_alerts(shares: str, fields: int) -> None:
    rng = np.random.default_rng(fields)
    windows = 400

    def draw(size: int) -> dict[str, int]:
        return {str(i): int(n) for i, n in enumerate(rng.multinomial(size, SHARES[shares]))}

    drifts = [of_counts(draw(500), draw(fields)) for _ in range(windows)]
    assert sum(drift.level is Level.ALERT for drift in drifts) <= 0.01 * windows


def test_fields_of_few_specimens_do_not_alert_by_their_likeness() -> None:
    """64 specimens of 20 fields that are nearly the same: as independent fields, most would."""
    rng = np.random.default_rng(1)
    sample, naive, careful = rng.normal(size=1000), 0, 0
    for _ in range(200):
        specimens = np.repeat(rng.normal(size=64), 20) + rng.normal(scale=0.05, size=1280)
        naive += of_values(sample, specimens).level is not Level.OK
        careful += of_values(sample, specimens, effective_size([20] * 64)).level is not Level.OK
    assert naive > 60
    assert careful <= 4


@pytest.mark.parametrize("shape", ["a bell", "confidences near 1", "mostly zero"])
@pytest.mark.parametrize("fields", [50, 500])
def test_a_shift_is_found(shape: str, fields: int) -> None:
    rng = np.random.default_rng(fields)
    sample = SHAPES[shape](rng, 1000)
    for _ in range(20):
        moved = SHAPES[shape](rng, fields) - 1.5 * sample.std()
        assert of_values(sample, moved).level is Level.ALERT


def test_a_smaller_shift_is_watched_by_ks_alone() -> None:
    rng = np.random.default_rng(3)
    drift = of_values(rng.normal(size=2000), rng.normal(loc=0.28, size=2000))
    assert drift.psi is not None
    assert drift.psi < 0.1
    assert drift.level is Level.WATCH


def test_calm_is_well_below_what_begins_an_alert() -> None:
    small = Drift("x", 100, Level.OK, psi=0.3, noise=0.4)
    assert not small.is_calm
    assert replace(small, psi=0.2).is_calm
    assert replace(small, psi=0.1, noise=0.01).is_calm
    assert not replace(small, psi=0.1, level=Level.WATCH).is_calm
    assert not Drift("x", 5, Level.TOO_FEW).is_calm


def test_a_category_that_the_reference_never_had_is_found() -> None:
    assert of_counts({"a": 300, "b": 200}, {"a": 60, "b": 40}).level is Level.OK
    assert of_counts({"a": 300, "b": 200}, {"a": 50, "b": 30, "c": 20}).level is Level.ALERT


@pytest.mark.parametrize(("images", "fields"), [(1000, 49), (49, 1000)])
def test_too_few_images_give_no_verdict_but_their_numbers(images: int, fields: int) -> None:
    drift = of_values(np.arange(float(images)), np.arange(float(fields)) + 1e6)
    assert drift.level is Level.TOO_FEW
    assert drift.psi is not None


def test_few_specimens_of_many_fields_are_too_few() -> None:
    assert effective_size([64] * 10) == pytest.approx(10)
    assert effective_size([1] * 30) == 30
    assert 1 < effective_size([64, *[1] * 36]) < 3
    assert effective_size([]) == 0
    window = np.full(640, 9.0)
    assert of_values(np.arange(1000.0), window, effective_size([64] * 10)).level is Level.TOO_FEW


def test_what_only_one_side_has_gets_no_verdict() -> None:
    known = {"x": {"quantiles": quantiles_of(np.arange(500.0)).tolist()}}
    reference = {"images": 500, "continuous": known, "categorical": {}}
    observed = Observations(60, {"y": np.ones(60)}, {"z": Counter(a=60)})
    levels = {drift.measure: drift.level for drift in compare(reference, observed, 60)}
    expected = {"x": Level.TOO_FEW, "y": Level.NO_REFERENCE, "z": Level.NO_REFERENCE}
    assert levels == expected
    levels = {drift.measure: drift.level for drift in compare(None, observed, 60)}
    assert levels == {"y": Level.NO_REFERENCE, "z": Level.NO_REFERENCE}
