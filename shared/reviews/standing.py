"""How far the reading of a case has come, by what its readers have signed: one pure function."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from shared.reviews.labels import ReviewLabel


class CaseState(StrEnum):
    """Whom a case waits for."""

    UNREAD = "unread"  # for a first reader
    SECOND_READING = "second_reading"  # for a second one, whom policy or the first asks for
    DISAGREEMENT = "disagreement"  # for another one, or for two of its readers to agree
    CLOSED = "closed"  # for nobody


@dataclass(frozen=True)
class Reading:
    """The newest review of one reader."""

    label: ReviewLabel
    asks_second: bool = False


@dataclass(frozen=True)
class Standing:
    """The state of a case, and the label that it was closed with."""

    state: CaseState
    label: ReviewLabel | None = None


def takes_two(prediction: ReviewLabel, label: ReviewLabel) -> bool:
    """Whether a second reader must sign: a finding of ALL is made, or taken away.

    Source: docs/reviewing.md, Second readings.
    """
    return prediction.is_malignant is not label.is_malignant


def standing(prediction: ReviewLabel, readings: Sequence[Reading]) -> Standing:
    """Judge a case by the newest review of each of its readers.

    One reader closes a case, unless a second one must sign. With several readers, it is closed by
    the label that two of them have signed and that no other label has as many readers for.

    Source: docs/reviewing.md, Second readings.
    """
    if not readings:
        return Standing(CaseState.UNREAD)
    if len(readings) == 1:
        (only,) = readings
        if only.asks_second or takes_two(prediction, only.label):
            return Standing(CaseState.SECOND_READING)
        return Standing(CaseState.CLOSED, only.label)
    (label, most), *others = Counter(reading.label for reading in readings).most_common()
    if most < 2 or (others and others[0][1] == most):
        return Standing(CaseState.DISAGREEMENT)
    return Standing(CaseState.CLOSED, label)
