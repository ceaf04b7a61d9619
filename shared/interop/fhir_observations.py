"""The values of the observations of a result, of a job and of a field alike (FHIR R4)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from shared.interop import codes
from shared.interop.codes import Concept
from shared.interop.fhir_parts import Json, concept_of, quantity
from shared.triage.labels import LABELS
from shared.triage.result import FieldResult, TriageResult

Part = TriageResult | FieldResult


def pattern_of(part: Part) -> Json:
    """The prediction, with the words that a clinician reads for it."""
    return concept_of(codes.PATTERNS[part.prediction], text=part.display)


def interpretation(part: Part) -> list[Json]:
    """What marks it in a list; empty where nothing does."""
    flag = codes.flag(part.urgency, requires_review=part.requires_review)
    return [concept_of(flag)] if flag else []


def component(concept: Concept, **value: Any) -> Json:
    """A component of an observation, with its value."""
    return {"code": concept_of(concept), **value}


def probabilities(part: Part) -> Iterator[Json]:
    """The calibrated probability of each class, and of any ALL subtype."""
    for label in LABELS:
        value = quantity(part.probabilities[label])
        yield component(codes.PROBABILITIES[label], valueQuantity=value)
    yield component(codes.P_ALL, valueQuantity=quantity(part.p_malignant))


def reasons(part: Part, to_read: Sequence[str] | None = None) -> Iterator[Json]:
    """Why it asks for a review, a component each.

    Args:
        part: A job's or a field's.
        to_read: What a person reads for each code; its `reason_texts` where nothing else is given.
    """
    for code, text, read in zip(
        part.reasons, part.reason_texts, to_read or part.reason_texts, strict=True
    ):
        reason = concept_of(codes.reason(code, text), text=read)
        yield component(codes.REASON, valueCodeableConcept=reason)


def measures(field: FieldResult) -> Iterator[Json]:
    """Likeness and image quality of a field, as far as they were measured."""
    if field.unlikeness is not None:
        yield component(codes.UNLIKENESS, valueQuantity=quantity(field.unlikeness))
    for name, concept in codes.QUALITY.items():
        if name in field.quality:
            yield component(concept, valueQuantity=quantity(field.quality[name]))
