"""Every sentence that a clinician reads, in one place.

A result never says "normal", "no malignancy", "cancer detected" or "diagnosis" as a finding; it
says what the pattern is consistent with.
"""

from __future__ import annotations

from shared.triage.labels import Label

DISPLAY = {
    Label.BENIGN: "pattern consistent with benign haematogones",
    Label.EARLY: "pattern consistent with Early Pre-B ALL",
    Label.PRE: "pattern consistent with Pre-B ALL",
    Label.PRO: "pattern consistent with Pro-B ALL",
}

DISCLAIMER = "decision support; not a diagnosis; requires confirmation by a qualified haematologist"

LIMITS = (
    "Trained on smears of one site and one microscope, without a patient-level split; "
    "benign fields are haematogones of patients suspected of ALL, not of healthy donors."
)
