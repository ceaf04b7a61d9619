"""What is measured of a model, and how models are compared."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from services.trainer.compare import compare, mcnemar
from services.trainer.metrics import (
    ROC_POINTS,
    expected_calibration_error,
    measure,
    proportion,
    roc_points,
)
from shared.models.prediction import Prediction
from shared.triage.policy import Urgency


def sure(predicted: list[int], confidence: float = 0.97) -> NDArray[np.float64]:
    """Probabilities that give each image one class."""
    probabilities = np.full((len(predicted), 4), (1 - confidence) / 3)
    probabilities[np.arange(len(predicted)), predicted] = confidence
    return probabilities


def test_wilson_interval_of_a_published_example() -> None:
    """Newcombe 1998, Stat. Med. 17:857, table I, method 3: 81 of 263 gives 0.2553 to 0.3662."""
    assert proportion(81, 263)["wilson95"] == pytest.approx([0.2553, 0.3662], abs=5e-5)
    assert proportion(0, 0)["value"] is None


def test_calibration_error_of_a_known_case() -> None:
    probabilities = np.array([[0.8, 0.2, 0, 0]] * 10)
    labels = np.array([0] * 6 + [1] * 4)
    assert expected_calibration_error(labels, probabilities) == pytest.approx(0.2)


def test_measures_of_a_known_confusion() -> None:
    labels = np.array([0, 0, 1, 2, 3, 3])
    predicted = np.array([0, 1, 1, 2, 3, 0])
    probabilities = np.full((6, 4), 0.01)
    probabilities[np.arange(6), predicted] = 0.97
    metrics = measure(labels, Prediction(probabilities.astype(np.float32), probabilities))
    assert metrics["confusion_matrix"] == [[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 1]]
    assert metrics["accuracy"]["value"] == pytest.approx(4 / 6)
    assert (metrics["sensitivity"]["count"], metrics["sensitivity"]["of"]) == (3, 4)
    assert (metrics["specificity"]["count"], metrics["specificity"]["of"]) == (1, 2)
    assert metrics["per_class"]["Benign"]["precision"] == pytest.approx(0.5)
    assert metrics["policy"]["routine"]["errors"]["count"] == 1
    assert sum(row["coverage"] for row in metrics["policy"].values()) == pytest.approx(1)


def test_a_class_without_images_is_not_measured_and_spoils_no_mean() -> None:
    probabilities = sure([0, 0, 1, 2])
    labels = np.array([0, 0, 1, 1])
    metrics = measure(labels, Prediction(probabilities.astype(np.float32), probabilities))
    assert metrics["per_class"]["Pro"] == {
        "precision": None, "recall": None, "f1": None, "support": 0, "auc": None,
    }  # fmt: skip
    assert metrics["macro_f1"] == pytest.approx((1 + 2 / 3) / 2)
    assert metrics["roc"]["Pro"] is None
    assert metrics["roc"]["malignant"] is not None
    json.dumps(metrics, allow_nan=False)


def test_images_of_one_class_alone_are_measured() -> None:
    probabilities = sure([0, 1])
    metrics = measure(np.array([0, 0]), Prediction(probabilities.astype(np.float32), probabilities))
    assert metrics["sensitivity"]["value"] is None
    assert metrics["specificity"]["value"] == 0.5
    assert metrics["auc_malignant"] is None
    assert set(metrics["roc"].values()) == {None}
    json.dumps(metrics, allow_nan=False)


def test_each_row_of_the_policy_has_its_own_coverage_and_error() -> None:
    labels = np.array([0, 0, 1, 1, 1, 2])
    confidences = (0.97, 0.92, 0.97, 0.85, 0.5, 0.5)
    probabilities = np.concatenate(
        [sure([predicted], p) for predicted, p in zip([0, 0, 1, 1, 1, 1], confidences, strict=True)]
    )
    metrics = measure(labels, Prediction(probabilities.astype(np.float32), probabilities))
    rows = [(row["urgency"], round(row["coverage"] * 6)) for row in metrics["policy_rows"]]
    assert rows == [("routine", 1), ("review", 1), ("urgent", 1), ("priority", 1), ("review", 2)]
    assert metrics["policy_rows"][-1]["errors"]["count"] == 1
    for urgency in Urgency:
        of_rows = [row for row in metrics["policy_rows"] if row["urgency"] == urgency]
        covered = sum(row["coverage"] for row in of_rows)
        assert covered == pytest.approx(metrics["policy"][urgency]["coverage"])


def test_the_area_under_the_curve_is_the_share_of_pairs_in_order() -> None:
    labels = np.array([0, 0, 1, 2])
    benign = np.array([0.9, 0.4, 0.5, 0.1])
    probabilities = np.stack([benign, *[(1 - benign) / 3] * 3], axis=1)
    metrics = measure(labels, Prediction(probabilities.astype(np.float32), probabilities))
    assert metrics["auc_malignant"] == pytest.approx(3 / 4)
    assert metrics["per_class"]["Benign"]["auc"] == pytest.approx(3 / 4)


def test_a_long_roc_curve_is_thinned_and_keeps_its_ends() -> None:
    rng = np.random.default_rng(0)
    positive = rng.random(5000) < 0.5
    points = roc_points(positive, positive + rng.normal(0, 1, 5000))
    assert points is not None
    assert len(points) == ROC_POINTS
    assert (points[0], points[-1]) == ([0, 0], [1, 1])
    assert all(a[0] <= b[0] and a[1] <= b[1] for a, b in pairwise(points))
    area = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(points))
    assert area == pytest.approx(0.76, abs=0.02)  # Phi(1 / sqrt(2)), two unit normals apart by 1


def test_mcnemars_exact_test_of_a_known_case() -> None:
    """One against nine: 2 * (1 + 10) / 2**10."""
    first = np.array([True] + [False] * 9 + [True] * 40)
    second = np.array([False] + [True] * 9 + [True] * 40)
    assert mcnemar(first, second) == {"only_a": 1, "only_b": 9, "p": pytest.approx(22 / 1024)}
    assert mcnemar(first, first) == {"only_a": 0, "only_b": 0, "p": 1}


def test_models_are_compared_with_the_most_accurate_one() -> None:
    labels = np.array([0, 1, 2, 3, 0, 1])
    predictions = {
        "poor": np.array([1, 1, 2, 0, 1, 0]),
        "good": np.array([0, 1, 2, 3, 0, 0]),
        "equal": np.array([0, 1, 2, 3, 0, 2]),
    }
    found = compare(labels, predictions)
    assert (found["images"], found["best"], found["all_wrong"]) == (6, "good", 1)
    assert found["models"]["good"]["against_best"] is None
    assert found["models"]["equal"]["against_best"]["p"] == 1
    poor = found["models"]["poor"]
    assert poor["accuracy"]["count"] == 2
    assert (poor["against_best"]["only_a"], poor["against_best"]["only_b"]) == (0, 3)
    assert poor["against_best"]["p"] == pytest.approx(0.25)
