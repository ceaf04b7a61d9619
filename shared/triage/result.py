"""Builds the triage result from a model's probabilities."""

from __future__ import annotations

import datetime as dt
import math
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from shared.triage.labels import BENIGN_INDEX, LABELS, Label
from shared.triage.policy import CURRENT_VERSION, Decision, Urgency, decide
from shared.triage.provenance import Provenance
from shared.triage.wording.english import ENGLISH

if TYPE_CHECKING:
    # What measures an image is not in the images of the API and the relay, which read results.
    from shared.triage.evidence import Evidence


_DISTANCE_DIGITS = 3


class ModelReference(BaseModel):
    """Which model spoke, down to its bytes."""

    model_config = ConfigDict(frozen=True)

    name: str
    version: int
    sha256: str = Field(description="SHA-256 of the artefact that ran.")
    engine: str
    precision: str
    label_set_coverage: float | None = Field(
        None, description="Nominal coverage of the version's conformal sets; null: it has none."
    )


class Opinion(BaseModel):
    """What one member of an ensemble says of one image."""

    model_config = ConfigDict(frozen=True)

    model: str = Field(description="`NAME@VERSION`.")
    prediction: Label
    confidence: float = Field(ge=0, le=1)
    probabilities: dict[Label, float] = Field(description="Calibrated.")
    raw_probabilities: dict[Label, float] = Field(description="Softmax before calibration.")


class SimilarCase(BaseModel):
    """A training image that the model takes for similar."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(description="Beginning of its SHA-256; the image is in the training store.")
    label: Label
    distance: float = Field(
        ge=0, description="In feature space; 1 is usual between training images of one kind."
    )


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
    reason_texts: list[str] = Field(
        default_factory=list, description="What each of the reasons means."
    )
    policy_version: str
    within_hours: float | None = Field(
        None, description="The latest moment of the timeline, in hours; null: no deadline."
    )
    label_set: list[Label] | None = Field(
        None, description="Conformal set: the labels that the image may have; null: not known."
    )
    unlikeness: float | None = Field(
        None,
        description="Distance from the training images; above 1 it is flagged; null: not known.",
    )
    opinions: list[Opinion] = Field(
        default_factory=list, description="What each member of an ensemble says."
    )
    similar: list[SimilarCase] = Field(
        default_factory=list, description="The nearest training images, the nearest first."
    )
    quality_version: str | None = Field(None, description="Version of the limits of quality.")
    quality: dict[str, float] = Field(
        default_factory=dict, description="Measures of image quality, by name."
    )


class Fields(BaseModel):
    """How the fields of one specimen are distributed."""

    model_config = ConfigDict(frozen=True)

    count: int
    by_prediction: dict[Label, int]
    by_urgency: dict[Urgency, int]
    p_malignant: dict[str, float] = Field(description="`least`, `median` and `greatest`.")


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
    reason_texts: list[str] = Field(
        default_factory=list, description="What each of the reasons means."
    )
    policy_version: str
    models: list[ModelReference]
    images: list[FieldResult]
    within_hours: float | None = Field(
        None, description="The latest moment of the timeline, in hours; null: no deadline."
    )
    fields: Fields | None = Field(
        None, description="How the images are distributed; null in results of earlier releases."
    )
    disclaimer: str
    limits: str
    created_at: dt.datetime
    timings_ms: dict[str, float]
    images_purged_at: dt.datetime | None = Field(
        None, description="Since when images of it are not kept any more; null: they are."
    )
    provenance: Provenance | None = Field(
        None, description="What it was made with; null in results of earlier releases."
    )


def field_result(
    index: int,
    evidence: Evidence,
    members: Sequence[ModelReference] = (),
    *,
    policy_version: str = CURRENT_VERSION,
) -> FieldResult:
    """Decide one smear field.

    Args:
        index: Position of the image in the job.
        evidence: What is known of it.
        members: Of an ensemble, in the order of the evidence's opinions.
        policy_version: The policy that decides; another than today's for a replay alone.
    """
    calibrated = evidence.calibrated
    confidence = float(calibrated.max())
    p_malignant = float(1 - calibrated[BENIGN_INDEX])
    decision: Decision = decide(
        evidence.label, confidence, p_malignant, evidence.flags, policy_version
    )
    return FieldResult(
        index=index,
        prediction=evidence.label,
        display=ENGLISH.display[evidence.label],
        confidence=confidence,
        p_malignant=p_malignant,
        probabilities=_by_label(calibrated),
        raw_probabilities=_by_label(evidence.raw),
        urgency=decision.urgency,
        recommended_action=decision.recommended_action,
        timeline=decision.timeline,
        within_hours=decision.within_hours,
        requires_review=decision.requires_review,
        reasons=[str(reason) for reason in decision.reasons],
        reason_texts=[ENGLISH.reasons[reason] for reason in decision.reasons],
        policy_version=policy_version,
        label_set=None if evidence.label_set is None else list(evidence.label_set),
        unlikeness=evidence.unlikeness,
        opinions=[
            _opinion(member, raw, calibrated)
            for member, raw, calibrated in zip(
                members, evidence.raw_opinions, evidence.opinions, strict=True
            )
        ],
        similar=[_similar(case) for case in evidence.similar],
        quality_version=evidence.quality_version,
        quality=evidence.quality.as_dict() if evidence.quality else {},
    )


def _opinion(
    member: ModelReference, raw: NDArray[np.float32], probabilities: NDArray[np.float64]
) -> Opinion:
    return Opinion(
        model=f"{member.name}@{member.version}",
        prediction=LABELS[int(probabilities.argmax())],
        confidence=float(probabilities.max()),
        probabilities=_by_label(probabilities),
        raw_probabilities=_by_label(raw),
    )


def _similar(case: np.void) -> SimilarCase:
    distance = round(float(case["distance"]), _DISTANCE_DIGITS)
    return SimilarCase(id=str(case["id"]), label=LABELS[int(case["label"])], distance=distance)


def triage_result(
    job_id: str,
    fields: Sequence[FieldResult],
    models: Sequence[ModelReference],
    *,
    created_at: dt.datetime,
    timings_ms: dict[str, float],
    provenance: Provenance | None = None,
) -> TriageResult:
    """Join the fields of one specimen: the job takes the most urgent of them.

    Between fields of equal urgency the one with the nearest deadline speaks, then the one with the
    highest P(malignant). A reason or a wish for review of any field is one of the job.
    """
    leading = min(fields, key=_order)
    reasons = sorted({reason for field in fields for reason in field.reasons})
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
        within_hours=leading.within_hours,
        requires_review=any(field.requires_review for field in fields),
        reasons=reasons,
        reason_texts=[ENGLISH.reasons[reason] for reason in reasons],
        policy_version=leading.policy_version,
        models=list(models),
        images=list(fields),
        fields=_distribution(fields),
        disclaimer=ENGLISH.disclaimer,
        limits=ENGLISH.limits,
        created_at=created_at,
        timings_ms=timings_ms,
        provenance=provenance,
    )


def _order(field: FieldResult) -> tuple[int, float, float, int]:
    deadline = math.inf if field.within_hours is None else field.within_hours
    return field.urgency.rank, deadline, -field.p_malignant, field.index


def _distribution(fields: Sequence[FieldResult]) -> Fields:
    predictions = [field.prediction for field in fields]
    urgencies = [field.urgency for field in fields]
    malignant = [field.p_malignant for field in fields]
    return Fields(
        count=len(fields),
        by_prediction={label: predictions.count(label) for label in LABELS},
        by_urgency={urgency: urgencies.count(urgency) for urgency in Urgency},
        p_malignant={
            "least": min(malignant),
            "median": statistics.median(malignant),
            "greatest": max(malignant),
        },
    )


def _by_label(
    probabilities: NDArray[np.float32] | NDArray[np.float64],
) -> dict[Label, float]:
    return {label: float(p) for label, p in zip(LABELS, probabilities, strict=True)}
