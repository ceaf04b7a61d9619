"""What is measured of a model on labelled images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import (
    brier_score_loss,
    confusion_matrix,
    precision_recall_fscore_support,
    roc_auc_score,
    roc_curve,
)

from shared.models.prediction import Prediction
from shared.triage.labels import BENIGN_INDEX, LABELS, Label
from shared.triage.policy import (
    CURRENT_VERSION,
    POLICIES,
    Decision,
    Reason,
    Rule,
    Urgency,
    decide,
)
from shared.triage.result import FieldResult

Labels = NDArray[np.int64]
Probabilities = NDArray[np.float64] | NDArray[np.float32]

CALIBRATION_BINS = 15
CONFIDENCE_LEVEL = 0.95
ROC_POINTS = 200
"""Most points that are kept of a ROC curve; its area is that of all points."""


def measure(labels: Labels, prediction: Prediction) -> Any:
    """All measures of one model on one labelled set, as plain data.

    A measure that the images cannot tell is None: those of a class without images, say.

    Args:
        labels: True class indices, shape (n,).
        prediction: Of the n images.
    """
    raw, calibrated = prediction.raw, prediction.calibrated
    predicted = calibrated.argmax(axis=1)
    correct = predicted == labels
    decisions = [table_decision(row) for row in calibrated]
    per_class = _class_table(labels, predicted, calibrated)
    return {
        "images": len(labels),
        "accuracy": proportion(int(correct.sum()), len(labels)),
        "macro_f1": float(
            np.mean([row["f1"] for row in per_class.values() if row["f1"] is not None])
        ),
        "per_class": per_class,
        "confusion_matrix": confusion_matrix(labels, predicted, labels=range(len(LABELS))).tolist(),
        **_malignancy(labels, calibrated),
        "roc": _roc(labels, calibrated),
        "calibration": {
            "before": _calibration(labels, raw),
            "after": _calibration(labels, calibrated),
        },
        "policy": _policy_table(correct, decisions),
        "policy_rows": _policy_rows(correct, decisions),
    }


def table_decision(calibrated: NDArray[np.float64]) -> Decision:
    """What the policy's table alone says of calibrated probabilities of shape (4,)."""
    label = LABELS[int(calibrated.argmax())]
    return decide(label, float(calibrated.max()), float(1 - calibrated[BENIGN_INDEX]))


def measure_review(labels: Labels, results: Sequence[FieldResult]) -> dict[str, Any]:
    """What asking for review costs and saves.

    Args:
        labels: True class indices, shape (n,).
        results: Of the n images, with all that flags them.

    Returns:
        Plain data. `unreviewed`: share of the images that need no review, and the errors among
        them. `malignant_as_routine`: malignant images whose urgency is routine. `reasons`: images
        by reason. `flagged_as_unlike`: those that the detector of foreign images flags.
        `set_holds_label`: coverage of the conformal sets by class, None without them.
    """
    truth = [LABELS[index] for index in labels]
    pairs = list(zip(truth, results, strict=True))
    correct = np.array([result.prediction is label for label, result in pairs])
    free = np.array([not result.requires_review for result in results])
    malignant = [result for label, result in pairs if label.is_malignant]
    routine = sum(result.urgency is Urgency.ROUTINE for result in malignant)
    unlike = sum(Reason.UNLIKE_TRAINING_DATA in result.reasons for result in results)
    return {
        "unreviewed": _share(free, correct),
        "malignant_as_routine": proportion(routine, len(malignant)),
        "reasons": dict(Counter(reason for result in results for reason in result.reasons)),
        "flagged_as_unlike": proportion(unlike, len(results)),
        "set_holds_label": {
            str(label): _coverage([result for other, result in pairs if other is label], label)
            for label in LABELS
        },
    }


def _coverage(results: Sequence[FieldResult], label: Label) -> dict[str, Any] | None:
    sets = [result.label_set for result in results if result.label_set is not None]
    return proportion(sum(label in held for held in sets), len(sets)) if sets else None


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


def roc_points(positive: NDArray[np.bool_], score: NDArray[np.float64]) -> list[list[float]] | None:
    """The ROC curve as (false positive rate, true positive rate), thinned to 200 points.

    Args:
        positive: Whether an image is of the kind looked for, shape (n,).
        score: Higher where it is thought to be, shape (n,).

    Returns:
        From (0, 0) to (1, 1); None where all images are of one kind.

    Source: Fawcett 2006, Pattern Recognit. Lett. 27:861.
    """
    if not _both_kinds(positive):
        return None
    rates = np.stack(roc_curve(positive, score)[:2], axis=1)
    count = min(len(rates), ROC_POINTS)
    kept = np.linspace(0, len(rates) - 1, count).round().astype(int)
    points: list[list[float]] = rates[kept].tolist()
    return points


def _both_kinds(positive: NDArray[np.bool_]) -> bool:
    return bool(positive.any() and not positive.all())


def _auc(positive: NDArray[np.bool_], score: NDArray[np.float64]) -> float | None:
    return float(roc_auc_score(positive, score)) if _both_kinds(positive) else None


def _class_table(
    labels: Labels, predicted: Labels, probabilities: NDArray[np.float64]
) -> dict[str, dict[str, float | None]]:
    columns = ("precision", "recall", "f1", "support")
    values = precision_recall_fscore_support(
        labels, predicted, labels=range(len(LABELS)), zero_division=0
    )
    table: dict[str, dict[str, float | None]] = {}
    for index, label in enumerate(LABELS):
        row = {name: float(value[index]) for name, value in zip(columns, values, strict=True)}
        measured = row["support"] > 0
        table[str(label)] = {
            **{name: row[name] if measured else None for name in columns[:3]},
            "support": row["support"],
            "auc": _auc(labels == index, probabilities[:, index]),
        }
    return table


def _malignancy(labels: Labels, probabilities: NDArray[np.float64]) -> dict[str, Any]:
    malignant = labels != BENIGN_INDEX
    called = probabilities.argmax(axis=1) != BENIGN_INDEX
    return {
        "sensitivity": proportion(int((called & malignant).sum()), int(malignant.sum())),
        "specificity": proportion(int((~called & ~malignant).sum()), int((~malignant).sum())),
        "auc_malignant": _auc(malignant, 1 - probabilities[:, BENIGN_INDEX]),
    }


def _roc(labels: Labels, probabilities: NDArray[np.float64]) -> dict[str, list[list[float]] | None]:
    """Malignant against benign, and each class against the rest."""
    malignant = roc_points(labels != BENIGN_INDEX, 1 - probabilities[:, BENIGN_INDEX])
    classes = {
        str(label): roc_points(labels == index, probabilities[:, index])
        for index, label in enumerate(LABELS)
    }
    return {"malignant": malignant, **classes}


def _calibration(labels: Labels, probabilities: Probabilities) -> dict[str, Any]:
    return {
        "ece": expected_calibration_error(labels, probabilities),
        "brier": float(brier_score_loss(labels, probabilities, labels=range(len(LABELS)))),
        "reliability": reliability(labels, probabilities),
    }


def _policy_table(correct: NDArray[np.bool_], decisions: list[Decision]) -> dict[str, Any]:
    """Coverage of each urgency, and the error among the images that get it."""
    urgencies = np.array([decision.urgency for decision in decisions])
    return {str(urgency): _share(urgencies == urgency, correct) for urgency in Urgency}


def _policy_rows(correct: NDArray[np.bool_], decisions: list[Decision]) -> list[dict[str, Any]]:
    """The same for each row of the policy in force; the last is where no other row applies."""
    policy = POLICIES[CURRENT_VERSION]
    taken = [(r.urgency, r.recommended_action, r.timeline) for r in decisions]
    rows = []
    for rule in (*policy.rules, policy.otherwise):
        words = (rule.urgency, rule.recommended_action, rule.timeline)
        chosen = np.array([words == other for other in taken])
        rows.append({**_describe(rule, policy.otherwise), **_share(chosen, correct)})
    return rows


def _describe(rule: Rule, otherwise: Rule) -> dict[str, str]:
    kind = "malignant" if rule.malignant else "benign"
    return {
        "when": "otherwise"
        if rule is otherwise
        else f"{kind}, {rule.above:.2f} < p <= {rule.up_to:.2f}",
        "urgency": str(rule.urgency),
        "recommended_action": rule.recommended_action,
        "timeline": rule.timeline,
    }


def _share(chosen: NDArray[np.bool_], correct: NDArray[np.bool_]) -> dict[str, Any]:
    return {
        "coverage": float(np.mean(chosen)),
        "errors": proportion(int((chosen & ~correct).sum()), int(chosen.sum())),
    }
