"""What is watched of a smear field: the same for the reference in a card and for use."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.triage.result import FieldResult

_SHARES = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class Observations:
    """The measures of some fields.

    Attributes:
        fields: How many there are. A measure that a field does not have is left out of it.
        continuous: Values by measure, shape (at most `fields`,).
        categorical: Counts of each category by measure.
    """

    fields: int
    continuous: dict[str, NDArray[np.float64]]
    categorical: dict[str, Counter[str]]


def observe(fields: Sequence[FieldResult]) -> Observations:
    """Take the measures of fields.

    Continuous are `confidence` and `p_malignant` (0 to 1), `unlikeness` (1 is the version's
    threshold) and each number of `quality`, as `quality.NAME`; categorical are `prediction`,
    `urgency` and `requires_review`.
    """
    continuous: dict[str, list[float]] = {}
    categorical: dict[str, Counter[str]] = {}
    for field in fields:
        for name, value in _numbers(field):
            if value is not None and math.isfinite(value):
                continuous.setdefault(name, []).append(value)
        for name, category in _categories(field):
            categorical.setdefault(name, Counter())[category] += 1
    arrays = {name: np.array(values, dtype=np.float64) for name, values in continuous.items()}
    return Observations(len(fields), arrays, categorical)


def reference_of(fields: Sequence[FieldResult]) -> dict[str, Any]:
    """Describe fields as the reference that a card has under `monitoring`.

    Of a continuous measure it keeps 101 quantiles, from the least value to the greatest by
    hundredths. Each is a value that occurred, so that equal values stay equal.

    Args:
        fields: Results of the version, of images that are like those it was trained for.

    Returns:
        Plain data: `{"images": n, "continuous": {NAME: {"quantiles": [...]}},
        "categorical": {NAME: {"counts": {CATEGORY: n}}}}`.

    Raises:
        ValueError: There are no fields.
    """
    if not fields:
        raise ValueError("expected at least one field, received: none")
    observed = observe(fields)
    return {
        "images": observed.fields,
        "continuous": {
            name: {"quantiles": np.quantile(values, _SHARES, method="inverted_cdf").tolist()}
            for name, values in observed.continuous.items()
        },
        "categorical": {
            name: {"counts": dict(sorted(counts.items()))}
            for name, counts in observed.categorical.items()
        },
    }


def _numbers(field: FieldResult) -> Iterator[tuple[str, float | None]]:
    yield "confidence", field.confidence
    yield "p_malignant", field.p_malignant
    yield "unlikeness", field.unlikeness
    for name, value in field.quality.items():
        yield f"quality.{name}", value


def _categories(field: FieldResult) -> Iterator[tuple[str, str]]:
    yield "prediction", field.prediction.value
    yield "urgency", field.urgency.value
    yield "requires_review", str(field.requires_review).lower()
