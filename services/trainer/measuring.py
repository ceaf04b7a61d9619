"""Measures a version on a test set, for change control."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.trainer.evaluate import Part, decide_all, measure_speed
from services.trainer.figures import Count, Figures
from services.trainer.metrics import Probabilities, measure, measure_review, proportion
from services.trainer.robustness import robustness
from shared.imaging import Pixels
from shared.models.prediction import Prediction
from shared.models.predictor import Predictor
from shared.models.registry import ModelVersion
from shared.triage.labels import BENIGN_INDEX, LABELS

CarryOn = Callable[[], object]

_NO_LABEL = -1


@dataclass(frozen=True)
class Measured:
    """What was measured of a version, to judge by and to report."""

    figures: Figures
    report: dict[str, Any]


def measure_speeds(
    predictors: Sequence[Predictor], images: Pixels, alternations: int, carry_on: CarryOn
) -> list[float]:
    """Images a second of each: the median of several measurements.

    They are measured in turns, so that what else the machine does is shared by all.

    Args:
        predictors: The models.
        images: Shape (n, 224, 224, 3).
        alternations: How often each is measured.
        carry_on: Called between measurements.
    """
    found: list[list[float]] = [[] for _ in predictors]
    for _ in range(alternations):
        for predictor, speeds in zip(predictors, found, strict=True):
            speeds.append(measure_speed(predictor.predict, images)["images_per_second"])
            carry_on()
    return [median(speeds) for speeds in found]


def measure_version(
    version: ModelVersion,
    predictor: Predictor,
    part: Part,
    *,
    images_per_second: float,
    changed_images: int,
    carry_on: CarryOn,
) -> Measured:
    """Measure a version on all images of a test set.

    Args:
        version: The version.
        predictor: The same, as a worker runs it.
        part: The images.
        images_per_second: Its speed.
        changed_images: The most that it is shown changed.
        carry_on: Called between steps.
    """
    prediction = predictor.predict(part.images)
    carry_on()
    if np.isfinite(prediction.calibrated).all():
        seen, told = _seen(predictor, prediction, part)
        robust, changes = _robustness(predictor, part, changed_images, carry_on)
    else:
        seen, told = _nothing_seen(part)
        robust, changes = Count(0, len(part.labels)), None
    cost: dict[str, Any] = {
        "images_per_second": images_per_second,
        "artefact_bytes": _artefact_bytes(version),
    }
    reference = predictor.reference
    report = {
        "model": str(version),
        "engine": reference.engine,
        "precision": reference.precision,
        **told,
        "robustness": {"mean": proportion(robust.count, robust.of), "changes": changes},
        **cost,
    }
    return Measured(Figures(**seen, robust=robust, **cost), report)


def _seen(
    predictor: Predictor, prediction: Prediction, part: Part
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Figures, and what a report says."""
    results = decide_all(predictor, prediction, part.qualities)
    metrics = measure(part.labels, prediction)
    review = measure_review(part.labels, results)
    after, routine = metrics["calibration"]["after"], review["malignant_as_routine"]
    flagged = Count(sum(result.requires_review for result in results), len(results))
    seen = {
        "predicted": prediction.calibrated.argmax(axis=1),
        "ece": after["ece"],
        "routine": Count(routine["count"], routine["of"]),
        "flagged": flagged,
    }
    copied = ("accuracy", "sensitivity", "specificity", "auc_malignant", "confusion_matrix")
    told = {
        **{name: metrics[name] for name in copied},
        "per_class": _per_class(metrics),
        "calibration": {"ece": after["ece"], "brier": after["brier"]},
        "malignant_as_routine": routine,
        "flagged_for_review": proportion(flagged.count, flagged.of),
        "reasons": review["reasons"],
    }
    return seen, told


def _nothing_seen(part: Part) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same of a version that gave no numbers: nothing is right, all is in doubt."""
    malignant, images = int((part.labels != BENIGN_INDEX).sum()), len(part.labels)
    seen = {
        "predicted": np.full(images, _NO_LABEL),
        "ece": math.nan,
        "routine": Count(malignant, malignant),
        "flagged": Count(images, images),
    }
    return seen, {"error": "Some of its probabilities are no numbers."}


def _per_class(metrics: dict[str, Any]) -> dict[str, Any]:
    matrix = np.array(metrics["confusion_matrix"])
    return {
        str(label): {
            "recall": proportion(int(matrix[index, index]), int(matrix[index].sum())),
            "precision": proportion(int(matrix[index, index]), int(matrix[:, index].sum())),
            "f1": metrics["per_class"][label]["f1"],
            "auc": metrics["per_class"][label]["auc"],
        }
        for index, label in enumerate(LABELS)
    }


def _robustness(
    predictor: Predictor, part: Part, most: int, carry_on: CarryOn
) -> tuple[Count, dict[str, Any]]:
    """Right answers to changed images, all kinds and levels together, and each by itself."""
    chosen, are_numbers = choose(part, most), True

    def predict(images: Pixels) -> Probabilities:
        nonlocal are_numbers
        carry_on()
        probabilities = predictor.predict(images).calibrated
        are_numbers &= bool(np.isfinite(probabilities).all())
        return probabilities

    found = robustness(predict, part.images[chosen], part.labels[chosen])
    kinds = found["perturbations"].values()
    each = [level["accuracy"] for kind in kinds for level in kind.values()]
    right = sum(one["count"] for one in each) if are_numbers else 0
    return Count(right, sum(one["of"] for one in each)), found


def choose(part: Part, most: int) -> NDArray[np.int64]:
    """Images of a test set, equally many of each class, and always the same ones.

    Args:
        part: The images.
        most: As many at most; a class that has fewer gives all that it has.

    Returns:
        Their positions, in order.
    """
    order = sorted(range(len(part.samples)), key=lambda index: part.samples[index].sha256)
    of_classes = [
        [index for index in order if part.labels[index] == label][: most // len(LABELS)]
        for label in range(len(LABELS))
    ]
    return np.sort(np.concatenate(of_classes).astype(np.int64))


def _artefact_bytes(version: ModelVersion) -> int:
    """Of all artefacts of a version; of an ensemble those of the largest that it loads."""
    cards = [version.card, *(member.version.card for member in version.members)]
    return max(sum(int(one["bytes"]) for one in card["artefacts"].values()) for card in cards)
