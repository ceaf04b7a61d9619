"""Calibration and conformal sets: what they promise, kept on drawn data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.trainer.calibrate import (
    COVERAGES,
    choose_conformal,
    fit_calibration,
    fit_conformal,
    fit_temperature,
    fit_vector,
)
from shared.triage.calibration import Calibration
from shared.triage.conformal import Conformal
from shared.triage.labels import LABELS

RNG = np.random.default_rng(0)


def drawn(count: int, *, sharpness: float = 3.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels that are drawn from true probabilities, and these: shapes (n,) and (n, 4)."""
    rng = np.random.default_rng(seed)
    logits = sharpness * rng.standard_normal((count, 4))
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(4, p=row) for row in true])
    return labels, true


def distorted(true: np.ndarray, scale: object, shift: object) -> np.ndarray:
    """What a miscalibrated model says, from which (scale, shift) leads back to the truth."""
    logits = (np.log(true) - np.asarray(shift)) / np.asarray(scale)
    raw = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (raw / raw.sum(axis=1, keepdims=True)).astype(np.float32)


def test_temperature_one_changes_nothing_and_higher_ones_soften() -> None:
    raw = np.array([[0.7, 0.1, 0.15, 0.05]], dtype=np.float32)
    assert np.allclose(Calibration.of_temperature(1.0).apply(raw), raw, atol=1e-7)
    soft, sharp = (Calibration.of_temperature(t).apply(raw).max() for t in (2.0, 0.5))
    assert soft < 0.7 < sharp


def test_calibration_survives_certainty() -> None:
    certain = np.array([[1, 0, 0, 0]], dtype=np.float32)
    calibrated = Calibration.of_temperature(1.7).apply(certain)
    assert np.isfinite(calibrated).all()
    assert calibrated.sum() == pytest.approx(1)


def test_a_temperature_must_be_positive() -> None:
    with pytest.raises(ValueError, match="positive"):
        Calibration.of_temperature(0)


def test_a_card_tells_a_temperature_or_a_vector() -> None:
    assert Calibration.from_card({"temperature": 2}).scale == (0.5,) * 4
    vector = {"scale": [1, 2, 3, 4], "shift": [0, 0, 0, 1]}
    assert Calibration.from_card(vector) == Calibration((1, 2, 3, 4), (0, 0, 0, 1))


def test_a_temperature_is_found_again() -> None:
    labels, true = drawn(4000)
    raw = distorted(true, 2.0, 0.0)
    assert fit_temperature(labels, raw) == pytest.approx(0.5, abs=0.05)


def test_a_vector_is_taken_where_the_classes_are_distorted_differently() -> None:
    labels, true = drawn(2000)
    groups = [str(number) for number in range(len(labels))]
    raw = distorted(true, [1.0, 1.0, 2.0, 1.0], [0.0, 1.5, 0.0, -1.0])
    described = fit_calibration(labels, raw, groups)
    assert described["method"] == "vector"
    found = Calibration.from_card(described).apply(raw)
    assert np.abs(found - true).mean() < 0.02 < np.abs(raw - true).mean()


def test_a_temperature_is_kept_where_a_vector_is_no_better() -> None:
    labels, true = drawn(500)
    groups = [str(number // 2) for number in range(len(labels))]
    described = fit_calibration(labels, distorted(true, 1.5, 0.0), groups)
    assert described["method"] == "temperature"
    compared = described["vector_over_temperature"]
    assert compared["gain"] <= compared["standard_error"]


def test_a_vector_of_few_images_stays_near_its_temperature() -> None:
    labels, true = drawn(12)
    vector = fit_vector(labels, true.astype(np.float32))
    assert np.abs(vector.shift).max() < 10
    assert np.isfinite(vector.scale).all()


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.98])
def test_conformal_sets_hold_the_label_as_often_as_promised(coverage: float) -> None:
    """By class, in the mean of many calibrations; a bad model changes nothing of it."""
    held: dict[int, list[float]] = {index: [] for index in range(4)}
    for seed in range(40):
        labels, true = drawn(1200, sharpness=2.0, seed=seed)
        said = distorted(true, [3.0, 0.7, 1.0, 1.0], [0.0, 2.0, 0.0, -1.0]).astype(np.float64)
        fitted = Conformal.from_card(fit_conformal(labels[:400], said[:400], coverage))
        inside = fitted.sets(said[400:])
        for index in range(4):
            own = labels[400:] == index
            held[index].append(float(inside[own, index].mean()))
    for index in range(4):
        assert np.mean(held[index]) == pytest.approx(coverage, abs=0.02)


def test_a_class_of_too_few_images_is_in_every_set() -> None:
    labels = np.array([0] * 10 + [1] * 100 + [2] * 100 + [3] * 100)
    said = np.full((310, 4), 0.25)
    described = fit_conformal(labels, said, 0.98)
    assert described["least_probability"]["Benign"] == 0.0
    assert Conformal.from_card(described).sets(np.array([[0.0, 1.0, 0.0, 0.0]]))[0, 0]


def test_a_coverage_that_doubts_half_of_the_images_gives_way_to_a_lower_one() -> None:
    """One image in thirty of a class is called another one, as surely as any."""
    labels = np.repeat(np.arange(4), 150)
    noise = np.random.default_rng(0).uniform(0.001, 0.02, (600, 4))
    said = noise + 0.9 * np.eye(4)[labels]
    said[150:155] = noise[150:155] + 0.9 * np.eye(4)[0]
    highest = Conformal.from_card(fit_conformal(labels, said, COVERAGES[0]))
    assert (highest.sets(said).sum(axis=1) > 1).mean() > 0.2
    described = choose_conformal(labels, said)
    assert described["coverage"] == COVERAGES[1]
    assert (Conformal.from_card(described).sets(said).sum(axis=1) == 1).mean() > 0.9


def test_a_sure_model_has_sets_of_one() -> None:
    labels = RNG.integers(0, 4, 800)
    said = np.full((800, 4), 0.01) + 0.96 * np.eye(4)[labels]
    fitted = choose_conformal(labels, said)
    assert fitted["coverage"] == COVERAGES[0]
    assert (Conformal.from_card(fitted).sets(said).sum(axis=1) == 1).all()
    assert not Conformal.from_card(fitted).sets(np.full((1, 4), 0.25)).any()


@given(st.floats(0.5, 0.99), st.integers(1, 300))
def test_the_least_probability_leaves_out_no_more_than_may_be(coverage: float, count: int) -> None:
    own = np.linspace(0.01, 0.99, count)
    labels = np.zeros(count, dtype=np.int64)
    said = np.stack([own, 1 - own, 0 * own, 0 * own], axis=1)
    least = fit_conformal(labels, said, coverage)["least_probability"]["Benign"]
    left_out = int((own < least).sum())
    assert left_out <= (count + 1) * (1 - coverage)
    assert set(fit_conformal(labels, said, coverage)["images"]) == set(map(str, LABELS))
