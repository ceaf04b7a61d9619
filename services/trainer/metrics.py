"""What is measured of a model on labelled images."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import (
    brier_score_loss,
    confusion_matrix,
    precision_recall_fscore_support,
    roc_auc_score,
)

from shared.triage.labels import BENIGN_INDEX, LABELS
from shared.triage.policy import Urgency
from shared.triage.result import field_result

Labels = NDArray[np.int64]
Probabilities = NDArray[np.float64] | NDArray[np.float32]

CALIBRATION_BINS = 15
CONFIDENCE_LEVEL = 0.95


def measure(labels: Labels, raw: NDArray[np.float32], calibrated: NDArray[np.float64]) -> Any:
    """All measures of one model on one labelled set, as plain data.

    Args:
        labels: True class indices, shape (n,).
        raw: Softmax, shape (n, 4).
        calibrated: Calibrated probabilities, shape (n, 4).
    """
    predicted = calibrated.argmax(axis=1)
    correct = predicted == labels
    return {
        "images": len(labels),
        "accuracy": proportion(int(correct.sum()), len(labels)),
        "macro_f1": float(np.mean(_per_class(labels, predicted, 2))),
        "per_class": _class_table(labels, predicted),
        "confusion_matrix": confusion_matrix(labels, predicted, labels=range(len(LABELS))).tolist(),
        **_malignancy(labels, calibrated),
        "calibration": {
            "before": _calibration(labels, raw),
            "after": _calibration(labels, calibrated),
        },
        "policy": _policy_table(correct, raw, calibrated),
    }


def proportion(count: int, total: int) -> dict[str, float | int | list[float] | None]:
    """A proportion with its Wilson 95 % interval.

    Source: Wilson 1927, J. Am. Stat. Assoc. 22:209.
    """
    if total == 0:
        return {"value": None, "count": 0, "of": 0, "wilson95": None}
    interval = binomtest(count, total).proportion_ci(CONFIDENCE_LEVEL, method="wilson")
    return {
        "value": count / total,
        "count": count,
        "of": total,
        "wilson95": [float(interval.low), float(interval.high)],
    }


def expected_calibration_error(labels: Labels, probabilities: Probabilities) -> float:
    """ECE over 15 bins of equal width of the top probability.

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
    """
    return sum(
        bin_["share"] * abs(bin_["accuracy"] - bin_["confidence"])
        for bin_ in reliability(labels, probabilities)
    )


def reliability(labels: Labels, probabilities: Probabilities) -> list[dict[str, float]]:
    """Share, mean confidence and accuracy of each bin that is not empty."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    return [
        {
            "share": float(np.mean(bins == index)),
            "confidence": float(confidence[bins == index].mean()),
            "accuracy": float(correct[bins == index].mean()),
        }
        for index in np.unique(bins)
    ]


def _per_class(labels: Labels, predicted: Labels, column: int) -> NDArray[np.float64]:
    table = precision_recall_fscore_support(
        labels, predicted, labels=range(len(LABELS)), zero_division=0
    )
    return np.asarray(table[column], dtype=np.float64)


def _class_table(labels: Labels, predicted: Labels) -> dict[str, dict[str, float]]:
    columns = ("precision", "recall", "f1", "support")
    values = [_per_class(labels, predicted, column) for column in range(len(columns))]
    return {
        str(label): {
            column: float(value[index]) for column, value in zip(columns, values, strict=True)
        }
        for index, label in enumerate(LABELS)
    }


def _malignancy(labels: Labels, probabilities: NDArray[np.float64]) -> dict[str, Any]:
    malignant = labels != BENIGN_INDEX
    called = probabilities.argmax(axis=1) != BENIGN_INDEX
    both = 0 < malignant.sum() < len(labels)
    score = 1 - probabilities[:, BENIGN_INDEX]
    return {
        "sensitivity": proportion(int((called & malignant).sum()), int(malignant.sum())),
        "specificity": proportion(int((~called & ~malignant).sum()), int((~malignant).sum())),
        "auc_malignant": float(roc_auc_score(malignant, score)) if both else None,
    }


def _calibration(labels: Labels, probabilities: Probabilities) -> dict[str, Any]:
    return {
        "ece": expected_calibration_error(labels, probabilities),
        "brier": float(brier_score_loss(labels, probabilities, labels=range(len(LABELS)))),
        "reliability": reliability(labels, probabilities),
    }


def _policy_table(
    correct: NDArray[np.bool_], raw: NDArray[np.float32], calibrated: NDArray[np.float64]
) -> dict[str, Any]:
    """Coverage of each urgency, and the error among the images that get it."""
    urgencies = np.array(
        [field_result(0, r, c).urgency for r, c in zip(raw, calibrated, strict=True)]
    )
    return {
        str(urgency): {
            "coverage": float(np.mean(urgencies == urgency)),
            "errors": proportion(
                int((~correct[urgencies == urgency]).sum()), int((urgencies == urgency).sum())
            ),
        }
        for urgency in Urgency
    }
