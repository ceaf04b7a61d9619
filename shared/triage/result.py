"""Builds the triage result from a model's probabilities."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from shared.triage.labels import BENIGN_INDEX, LABELS, Label
from shared.triage.policy import CURRENT_VERSION, Decision, Urgency, decide
from shared.triage.wording import DISCLAIMER, DISPLAY, LIMITS


class ModelReference(BaseModel):
    """Which model spoke, down to its bytes."""

    model_config = ConfigDict(frozen=True)

    name: str
    version: int
    sha256: str = Field(description="SHA-256 of the artefact that ran.")
    engine: str
    precision: str


class FieldResult(BaseModel):
    """What the model and the policy say of one image."""

    model_config = ConfigDict(frozen=True)

    index: int = Field(description="Position of the image in the job, from 0.")
    prediction: Label
    display: str
    confidence: float = Field(ge=0, le=1, description="Calibrated probability of the prediction.")
    p_malignant: float = Field(ge=0, le=1, description="1 - P(Benign), calibrated.")
    probabilities: dict[Label, float] = Field(description="Calibrated.")
    raw_probabilities: dict[Label, float] = Field(description="Softmax before calibration.")
    urgency: Urgency
    recommended_action: str
    timeline: str
    requires_review: bool
    reasons: list[str]
    policy_version: str
    quality: dict[str, Any] = Field(
        default_factory=dict, description="Measures of image quality; empty until one is in place."
    )


class TriageResult(BaseModel):
    """The result of a job: that of its most urgent field, and every field's own."""

    model_config = ConfigDict(frozen=True)

    job_id: str
    prediction: Label
    display: str
    confidence: float = Field(ge=0, le=1)
    p_malignant: float = Field(ge=0, le=1)
    probabilities: dict[Label, float]
    urgency: Urgency
    recommended_action: str
    timeline: str
    requires_review: bool
    reasons: list[str]
    policy_version: str
    models: list[ModelReference]
    images: list[FieldResult]
    disclaimer: str
    limits: str
    created_at: dt.datetime
    timings_ms: dict[str, float]


def field_result(
    index: int, raw: NDArray[np.float32], calibrated: NDArray[np.float64]
) -> FieldResult:
    """Decide one smear field.

    Args:
        index: Position of the image in the job.
        raw: Softmax, shape (4,).
        calibrated: Calibrated probabilities, shape (4,).
    """
    label = LABELS[int(calibrated.argmax())]
    confidence = float(calibrated.max())
    p_malignant = float(1 - calibrated[BENIGN_INDEX])
    decision: Decision = decide(label, confidence, p_malignant)
    return FieldResult(
        index=index,
        prediction=label,
        display=DISPLAY[label],
        confidence=confidence,
        p_malignant=p_malignant,
        probabilities=_by_label(calibrated),
        raw_probabilities=_by_label(raw),
        urgency=decision.urgency,
        recommended_action=decision.recommended_action,
        timeline=decision.timeline,
        requires_review=decision.requires_review,
        reasons=[str(reason) for reason in decision.reasons],
        policy_version=CURRENT_VERSION,
    )


def triage_result(
    job_id: str,
    fields: Sequence[FieldResult],
    models: Sequence[ModelReference],
    *,
    created_at: dt.datetime,
    timings_ms: dict[str, float],
) -> TriageResult:
    """Join the fields of one specimen: the job takes the most urgent of them.

    Between fields of equal urgency, the one with the highest P(malignant) speaks. A reason or a
    wish for review of any field is one of the job.
    """
    leading = min(fields, key=lambda field: (field.urgency.rank, -field.p_malignant, field.index))
    return TriageResult(
        job_id=job_id,
        prediction=leading.prediction,
        display=leading.display,
        confidence=leading.confidence,
        p_malignant=leading.p_malignant,
        probabilities=leading.probabilities,
        urgency=leading.urgency,
        recommended_action=leading.recommended_action,
        timeline=leading.timeline,
        requires_review=any(field.requires_review for field in fields),
        reasons=sorted({reason for field in fields for reason in field.reasons}),
        policy_version=leading.policy_version,
        models=list(models),
        images=list(fields),
        disclaimer=DISCLAIMER,
        limits=LIMITS,
        created_at=created_at,
        timings_ms=timings_ms,
    )


def _by_label(
    probabilities: NDArray[np.float32] | NDArray[np.float64],
) -> dict[Label, float]:
    return {label: float(p) for label, p in zip(LABELS, probabilities, strict=True)}
