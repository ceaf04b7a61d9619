"""What a reviewer can say of a result."""

from __future__ import annotations

from enum import StrEnum


class Decision(StrEnum):
    """What the reviewer makes of the prediction."""

    CONFIRM = "confirm"  # it is right
    OVERRIDE = "override"  # it is wrong; the label says what is right


class ReviewLabel(StrEnum):
    """What a reviewer may find: the model's classes, and what is none of them."""

    BENIGN = "Benign"
    EARLY = "Early"
    PRE = "Pre"
    PRO = "Pro"
    OTHER = "other"  # another disease, or a field that shows no answer; the comment tells which

    @property
    def is_malignant(self) -> bool:
        """Whether it is a subtype of ALL."""
        return self in (ReviewLabel.EARLY, ReviewLabel.PRE, ReviewLabel.PRO)
