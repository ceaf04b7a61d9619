"""The four classes, in the one order that is used everywhere."""

from __future__ import annotations

from enum import StrEnum


class Label(StrEnum):
    """A class of the ALL data set of Taleqani Hospital (doi 10.1002/int.22753)."""

    BENIGN = "Benign"  # haematogones
    EARLY = "Early"  # Early Pre-B ALL
    PRE = "Pre"  # Pre-B ALL
    PRO = "Pro"  # Pro-B ALL

    @property
    def is_malignant(self) -> bool:
        """Whether the class is a subtype of ALL."""
        return self is not Label.BENIGN


LABELS: tuple[Label, ...] = tuple(Label)
"""Index i of every probability vector belongs to `LABELS[i]`."""

BENIGN_INDEX = LABELS.index(Label.BENIGN)
