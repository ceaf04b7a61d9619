"""The job's joint result."""

import datetime as dt

import numpy as np
import pytest

from shared.triage.evidence import Evidence
from shared.triage.labels import LABELS, Label
from shared.triage.policy import Urgency
from shared.triage.result import ModelReference, TriageResult, field_result, triage_result


def _result(*rows: list[float]) -> TriageResult:
    fields = [
        field_result(
            index, Evidence(np.array(row, dtype=np.float32), np.array(row), unlikeness=0.5)
        )
        for index, row in enumerate(rows)
    ]
    model = ModelReference(name="m", version=1, sha256="0" * 64, engine="openvino", precision="f32")
    return triage_result("job", fields, [model], created_at=dt.datetime.now(dt.UTC), timings_ms={})


def test_a_job_takes_its_most_urgent_field_and_lists_all() -> None:
    result = _result([0.99, 0.01, 0, 0], [0.02, 0.0, 0.0, 0.98], [0.5, 0.5, 0, 0])
    assert (result.urgency, result.prediction) == (Urgency.URGENT, Label.PRO)
    assert result.requires_review, "the third field asks for review"
    assert [field.index for field in result.images] == [0, 1, 2]


def test_p_malignant_is_what_is_not_benign() -> None:
    result = _result([0.1, 0.45, 0.45, 0.0])
    assert result.p_malignant == pytest.approx(0.9)
    assert list(result.probabilities) == list(LABELS)


def test_every_result_carries_disclaimer_and_limits() -> None:
    result = _result([0.97, 0.01, 0.01, 0.01])
    assert "not a diagnosis" in result.disclaimer
    assert "one site and one microscope" in result.limits
