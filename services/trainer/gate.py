"""The parity gate: a lower precision may be used where it decides as float32 does.

It is asked on real labelled images that trained nothing. The verdict stands in the card, and
without a passed one the precision is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from services.trainer.evaluate import Part, measure_speed
from services.trainer.metrics import Labels, table_decision
from shared.clock import utc_now
from shared.models.precision import FULL, Precision
from shared.models.prediction import Prediction
from shared.models.predictor import Predictor
from shared.models.registry import ModelVersion
from shared.settings import InferenceSettings
from shared.triage.policy import Reason, Urgency


@dataclass(frozen=True)
class Limits:
    """What a lower precision may change."""

    labels_changed: float = 0.005
    """Share of the images whose label may be another: 2 of 516."""
    largest_difference: float = 0.1
    """Of any calibrated probability of any image."""
    least_images: int = 200
    """Of fewer not one label could change and be allowed, and a form that fails on many images may
    well pass."""
    reviews_changed: float = 0.02
    """Share of the images that may be flagged, by set, members or likeness, where float32 does not
    flag them or the other way round: borderline images do, and a shifted network flags many."""


LIMITS = Limits()


def ask_gate(
    precision: Precision, version: ModelVersion, part: Part, settings: InferenceSettings
) -> dict[str, Any]:
    """Run a version in float32 and in a lower precision on the same images, and judge.

    Args:
        precision: The lower precision, which the engine of the settings supports here.
        version: The version.
        part: Labelled images that trained nothing.
        settings: Of the engine.

    Returns:
        What `compare` returns, but that too few images pass nothing, with the images, the day and
        the speed of both precisions.

    Raises:
        ModelArtefactError: The version has no artefact of that precision.
    """
    full, lower = (Predictor.load_in(p, version, settings) for p in (FULL, precision))
    verdict = compare(full.predict(part.images), lower.predict(part.images), part.labels)
    enough = len(part.labels) >= LIMITS.least_images
    return {
        **verdict,
        "passed": verdict["passed"] and enough,
        "images_needed": LIMITS.least_images,
        "measured_on": part.measured_on,
        "asked_at": utc_now().isoformat(timespec="seconds"),
        "speed": {
            str(p): measure_speed(predictor.predict, part.images)
            for p, predictor in ((FULL, full), (precision, lower))
        },
    }


def compare(full: Prediction, lower: Prediction, labels: Labels) -> dict[str, Any]:
    """The verdict on a lower precision from what both precisions say of the same images.

    Args:
        full: Of float32.
        lower: Of the lower precision.
        labels: True class indices, shape (n,).

    Returns:
        `passed`, and the counts and differences that decided it, beside their limits.
    """
    before, after = (p.calibrated.argmax(axis=1) for p in (full, lower))
    changed = int((before != after).sum())
    allowed = int(LIMITS.labels_changed * len(labels))
    lowered = sum(
        was == Urgency.URGENT and now != Urgency.URGENT
        for was, now in zip(_urgencies(full), _urgencies(lower), strict=True)
    )
    difference = float(np.abs(full.calibrated - lower.calibrated).max())
    flips = sum(a != b for a, b in zip(_flagged(full), _flagged(lower), strict=True))
    flips_allowed = int(LIMITS.reviews_changed * len(labels))
    return {
        # A comparison with a number that is none fails, and so does the gate.
        "passed": bool(
            changed <= allowed
            and lowered == 0
            and difference <= LIMITS.largest_difference
            and flips <= flips_allowed
        ),
        "images": len(labels),
        "labels_changed": changed,
        "labels_allowed": allowed,
        "urgent_lowered": int(lowered),
        "largest_difference": difference,
        "difference_allowed": LIMITS.largest_difference,
        "reviews_changed": int(flips),
        "reviews_allowed": flips_allowed,
        "correct": {"full": int((before == labels).sum()), "lower": int((after == labels).sum())},
    }


def _urgencies(prediction: Prediction) -> list[Urgency]:
    return [table_decision(row).urgency for row in prediction.calibrated]


def _flagged(prediction: Prediction) -> list[bool]:
    """Whether each is flagged; that a version has no reference is the same in any precision."""
    unknown = {Reason.INPUT_NOT_CHECKED}
    rows = range(len(prediction.raw))
    return [bool({*prediction.evidence(index).flags} - unknown) for index in rows]
