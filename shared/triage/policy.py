"""The triage policy: a versioned table and one pure function that evaluates it.

The table is data (`POLICIES`); a result names the version that decided it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from shared.triage.labels import Label


class Urgency(StrEnum):
    """How soon somebody must look, most urgent first."""

    URGENT = "urgent"
    PRIORITY = "priority"
    REVIEW = "review"
    ROUTINE = "routine"

    @property
    def rank(self) -> int:
        """0 for the most urgent."""
        return list(Urgency).index(self)


class Reason(StrEnum):
    """Why a result asks for a human's review; each forces `requires_review`."""

    LOW_CONFIDENCE = "low_confidence"  # the table's row itself asks for a look
    SUBTYPE_UNCERTAIN = "subtype_uncertain"  # malignant without doubt, which subtype is open
    SEVERAL_LABELS = "several_labels_possible"  # the conformal set holds more than one
    NO_LABEL_FITS = "no_label_fits"  # the conformal set is empty
    ANOTHER_LABEL_FITS = "another_label_fits"  # it holds one label, and not the predicted one
    MEMBERS_DISAGREE = "members_disagree"  # a member of the ensemble predicts another class
    UNLIKE_TRAINING_DATA = "unlike_training_data"  # beyond the version's threshold
    INPUT_NOT_CHECKED = "input_not_checked"  # the version has no reference to compare it with
    OUT_OF_FOCUS = "out_of_focus"
    POOR_EXPOSURE = "poor_exposure"
    LOW_CONTRAST = "low_contrast"
    NOT_A_STAINED_SMEAR = "not_a_stained_smear"
    TOO_FEW_CELLS = "too_few_cells"


@dataclass(frozen=True)
class Rule:
    """A row of the table: applies where `above` < p of the predicted class <= `up_to`."""

    malignant: bool
    above: float
    up_to: float
    urgency: Urgency
    recommended_action: str
    timeline: str
    within_hours: float | None
    """The latest moment of the timeline; None: no deadline."""

    @property
    def strictness(self) -> tuple[int, float]:
        """What sorts before is stricter: by urgency, then by deadline."""
        return self.urgency.rank, math.inf if self.within_hours is None else self.within_hours


@dataclass(frozen=True)
class Policy:
    """A version of the table.

    `otherwise` applies where no rule does. `flagged` takes the place of a less strict row where
    something besides the probabilities asks for review; without it, the row stays.
    """

    version: str
    rules: tuple[Rule, ...]
    otherwise: Rule
    flagged: Rule | None = None


@dataclass(frozen=True)
class Decision:
    """What the policy says of one smear field."""

    urgency: Urgency
    recommended_action: str
    timeline: str
    within_hours: float | None
    requires_review: bool
    reasons: tuple[Reason, ...]


_TABLE = (
    Rule(False, 0.95, 1.0, Urgency.ROUTINE, "routine follow-up", "standard", None),
    Rule(False, 0.90, 0.95, Urgency.REVIEW, "manual verification", "24-48 h", 48),
    Rule(
        True, 0.90, 1.0, Urgency.URGENT, "immediate specialist referral (haematology)",
        "immediate", 0,
    ),
    Rule(True, 0.80, 0.90, Urgency.PRIORITY, "priority review and confirmation", "12-24 h", 24),
)  # fmt: skip
_MANUAL = Rule(
    False, 0.0, 1.0, Urgency.REVIEW, "manual review required, specialist consultation", "24 h", 24
)

POLICIES = {
    policy.version: policy
    for policy in (
        Policy("1", _TABLE, otherwise=_MANUAL),
        # The same table; what is flagged for review is nobody's routine, and waits no longer.
        Policy("2", _TABLE, otherwise=_MANUAL, flagged=_MANUAL),
    )
}

CURRENT_VERSION = "2"
SUBTYPE_DOUBT_ABOVE = 0.90
"""P(malignant) above which an unsure prediction is a doubt between subtypes of ALL alone."""


def decide(
    label: Label,
    confidence: float,
    p_malignant: float,
    flags: Sequence[Reason] = (),
    version: str = CURRENT_VERSION,
) -> Decision:
    """Evaluate the policy for one smear field.

    Args:
        label: The predicted class.
        confidence: Its calibrated probability.
        p_malignant: 1 - P(Benign), calibrated.
        flags: What else asks for review. They may raise the table's urgency, and never lower it.
        version: Version of the policy.

    Raises:
        KeyError: There is no such version.
    """
    policy = POLICIES[version]
    rule = _row(policy, label, confidence)
    reasons = []
    if rule.urgency in (Urgency.REVIEW, Urgency.PRIORITY):
        reasons.append(Reason.LOW_CONFIDENCE)
        if label.is_malignant and p_malignant > SUBTYPE_DOUBT_ABOVE:
            reasons.append(Reason.SUBTYPE_UNCERTAIN)
    if flags and policy.flagged and policy.flagged.strictness < rule.strictness:
        rule = policy.flagged
    reasons.extend(flags)
    return Decision(
        urgency=rule.urgency,
        recommended_action=rule.recommended_action,
        timeline=rule.timeline,
        within_hours=rule.within_hours,
        requires_review=bool(reasons),
        reasons=tuple(reasons),
    )


def _row(policy: Policy, label: Label, confidence: float) -> Rule:
    for rule in policy.rules:
        if rule.malignant is label.is_malignant and rule.above < confidence <= rule.up_to:
            return rule
    return policy.otherwise
