"""What is watched of fields, and the reference that a card keeps of it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from shared.imaging.quality import Quality
from shared.monitoring.drift import Level, compare
from shared.monitoring.measures import observe, reference_of
from shared.triage.evidence import Evidence
from shared.triage.result import FieldResult, field_result

QUALITY = Quality(1.2, 250, 0.1, 0.5, 0.4, 0.0, 9)


def a_field(
    confidence: float = 0.97, unlikeness: float | None = 0.5, quality: Quality | None = QUALITY
) -> FieldResult:
    row = np.array([confidence, *[(1 - confidence) / 3] * 3])
    evidence = Evidence(row.astype(np.float32), row, unlikeness=unlikeness, quality=quality)
    return field_result(0, evidence)


def test_the_measures_of_a_field() -> None:
    observed = observe([a_field(), a_field(0.5)])
    assert observed.fields == 2
    assert set(observed.continuous) == {
        "confidence",
        "p_malignant",
        "unlikeness",
        *(f"quality.{name}" for name in QUALITY.as_dict()),
    }
    assert list(observed.continuous["confidence"]) == [0.97, 0.5]
    assert observed.categorical["prediction"] == {"Benign": 2}
    assert observed.categorical["urgency"] == {"routine": 1, "review": 1}
    assert observed.categorical["requires_review"] == {"false": 1, "true": 1}


def test_what_a_field_does_not_have_is_left_out() -> None:
    observed = observe([a_field(unlikeness=None, quality=None), a_field(unlikeness=2.0)])
    assert list(observed.continuous["unlikeness"]) == [2.0]
    assert observed.continuous["quality.focus"].size == 1
    assert "unlikeness" not in observe([a_field(unlikeness=None)]).continuous


def test_a_number_that_is_none_is_left_out() -> None:
    broken = a_field().model_copy(update={"unlikeness": float("nan")})
    assert "unlikeness" not in observe([broken]).continuous


def test_a_reference_is_plain_data_with_values_that_occurred() -> None:
    confidences = np.random.default_rng(1).uniform(0.3, 1, size=300)
    reference = json.loads(json.dumps(reference_of([a_field(one) for one in confidences])))
    quantiles = reference["continuous"]["confidence"]["quantiles"]
    assert len(quantiles) == 101
    assert set(quantiles) <= set(confidences)
    assert (quantiles[0], quantiles[-1]) == (confidences.min(), confidences.max())
    assert quantiles == sorted(quantiles)
    assert reference["images"] == 300
    assert sum(reference["categorical"]["prediction"]["counts"].values()) == 300


def test_a_reference_has_not_drifted_from_itself() -> None:
    fields = [a_field(one) for one in np.random.default_rng(1).uniform(0.3, 1, size=300)]
    drifts = compare(reference_of(fields), observe(fields), len(fields))
    assert {drift.level for drift in drifts} == {Level.OK}


def test_no_fields_make_no_reference() -> None:
    with pytest.raises(ValueError, match="at least one field"):
        reference_of([])
