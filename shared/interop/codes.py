"""The one table of codes that results leave the house with, and where each comes from.

A standard code stands here only where its meaning was looked up and is ours. For the rest there
are codes of this service, in a system of its own: a wrong standard code is worse than a local one.
So no pattern has a code of SNOMED CT. Those that come near are disorders, and whoever reads codes
alone would read a disease that was found where there is a pattern that asks for a look.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from shared.triage.labels import Label
from shared.triage.policy import Reason, Urgency
from shared.triage.wording.english import ENGLISH


@dataclass(frozen=True)
class CodeSystem:
    """A system of codes, as each standard names it."""

    name: str
    uri: str
    """In FHIR R4 (`Coding.system`)."""
    hl7: str
    """In HL7 v2.5.1: table 0396."""
    dicom: str = ""
    """In DICOM: Coding Scheme Designator, PS3.16 chapter 8; empty where no report has its codes."""


@dataclass(frozen=True)
class Concept:
    """A code with its meaning."""

    system: CodeSystem
    code: str
    display: str
    source: str
    """Where code and meaning stand, what they were read in, and on which day."""


LOINC = CodeSystem("LOINC", "http://loinc.org", "LN", "LN")
UCUM = CodeSystem("UCUM", "http://unitsofmeasure.org", "UCUM", "UCUM")
SECTIONS = CodeSystem("HL7 table 0074", "http://terminology.hl7.org/CodeSystem/v2-0074", "HL70074")
FLAGS = CodeSystem(
    "HL7 table 0078",
    "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation",
    "HL70078",
)
SPECIMENS = CodeSystem("HL7 table 0487", "http://terminology.hl7.org/CodeSystem/v2-0487", "HL70487")
LOCAL = CodeSystem("local", "urn:hemotriage:codes", "99HEM", "99HEMOTRIAGE")
"""Codes of this service. HL7 v2.5.1 table 0396 and DICOM PS3.16 chapter 8 keep 99... for such."""

_LOCAL_SOURCE = "local: this service"
_FLAG_SOURCE = "HL7 table 0078, OBX-8; read in the v2.9 value set, 2026-11-26"


def _local(code: str, display: str) -> Concept:
    return Concept(LOCAL, code, display, _LOCAL_SOURCE)


SMEAR_REPORT = Concept(
    LOINC,
    "5909-7",
    "Blood smear finding [Identifier] in Blood by Light microscopy",
    "https://loinc.org/5909-7, LOINC 2.79, 2026-11-26",
)
"""What was examined and how. It says nothing of what was found."""
TRIAGE = _local("smear-triage", "Blood smear triage for acute lymphoblastic leukaemia")
"""The report itself, beside the code of the examination: tells a machine's from a person's."""
HAEMATOLOGY = Concept(
    SECTIONS, "HM", "Hematology", "HL7 table 0074, OBR-24; read in the v2.4 tables, 2026-11-26"
)
WHOLE_BLOOD = Concept(
    SPECIMENS, "BLD", "Whole blood", "HL7 table 0487, SPM-4; read in CH LAB-Order 2.0.0, 2026-11-26"
)
ABNORMAL = Concept(FLAGS, "A", "Abnormal", _FLAG_SOURCE)
VERY_ABNORMAL = Concept(FLAGS, "AA", "Critical abnormal", _FLAG_SOURCE)
NO_UNIT = Concept(UCUM, "1", "no units", "DICOM PS3.16 CID 7181; read in pydicom 3.0.2, 2026-11-26")

PATTERN = _local("pattern", "Pattern of the blood smear")
P_ALL = _local("p-all", "Calibrated probability of any ALL subtype: 1 - P(Benign)")
URGENCY = _local("urgency", "Urgency of the review")
ACTION = _local("action", "Recommended action")
TIMELINE = _local("timeline", "Deadline of the recommended action")
REVIEW = _local("requires-review", "Whether the result asks for a review by itself")
REASON = _local("review-reason", "Why the result asks for a review")
UNLIKENESS = _local("unlikeness", "Distance from the training images; above 1 it is flagged")
DISCLAIMER = _local("disclaimer", "What the result is, and is not")
LIMITS = _local("limits", "Limits of the training data")

PATTERNS = {label: _local(f"pattern-{label.lower()}", ENGLISH.display[label]) for label in Label}
PROBABILITIES = {
    label: _local(f"p-{label.lower()}", f"Calibrated probability of {label}") for label in Label
}
URGENCIES = {urgency: _local(f"urgency-{urgency}", str(urgency)) for urgency in Urgency}
_SHORTER = {Reason.SEVERAL_LABELS: "several_labels"}
"""Where the code of JSON results is longer than HL7 v2.5.1 has room for: 20 in CWE.1 (ST)."""
REASONS = {
    reason.value: _local(_SHORTER.get(reason, reason.value), ENGLISH.reasons[reason])
    for reason in Reason
}
"""By the code that JSON results have."""
QUALITY = {
    "focus": _local("q-focus", "Focus: fineness of the detail, per pixel of 112"),
    "background": _local("q-background", "Background: luma of the plasma, 0 to 255"),
    "bleached": _local("q-bleached", "Share of the field that is bleached"),
    "contrast": _local("q-contrast", "Contrast of the field, 0 to 1"),
    "stained": _local("q-stained", "Share of the field in hues of a stain"),
    "foreign": _local("q-foreign", "Share of the field in hues of no stain"),
    "nucleated_cells": _local("q-cells", "Nucleated cells in the field, estimated count"),
}
"""By the name of the measure in `shared.imaging.quality`."""


def reason(code: str, text: str) -> Concept:
    """A reason of this release, or one that another release wrote, with its own text."""
    return REASONS.get(code) or _local(code, text)


def flag(urgency: Urgency, *, requires_review: bool) -> Concept | None:
    """What a list of results marks an urgency with.

    A laboratory system may hide what carries no flag: so whatever somebody has to look at by the
    policy has one. None never means that nothing is wrong, and no result carries N.
    """
    if urgency is Urgency.URGENT:
        return VERY_ABNORMAL
    return ABNORMAL if requires_review or urgency is not Urgency.ROUTINE else None


def table() -> Iterator[Concept]:
    """Every concept, in the order of docs/lis.md."""
    yield from (SMEAR_REPORT, HAEMATOLOGY, WHOLE_BLOOD, ABNORMAL, VERY_ABNORMAL, NO_UNIT)
    yield from (TRIAGE, PATTERN, *PATTERNS.values(), *PROBABILITIES.values(), P_ALL)
    yield from (URGENCY, *URGENCIES.values(), ACTION, TIMELINE, REVIEW, REASON)
    yield from (*REASONS.values(), UNLIKENESS, *QUALITY.values(), DISCLAIMER, LIMITS)
