"""The policy table at each of its boundaries, calibration, and the job's joint result."""

import datetime as dt

import numpy as np
import pytest

from shared.triage.calibration import apply_temperature
from shared.triage.labels import LABELS, Label
from shared.triage.policy import Urgency, decide
from shared.triage.result import ModelReference, TriageResult, field_result, triage_result
from shared.triage.wording import DISPLAY

SUBTYPES = [label for label in LABELS if label.is_malignant]
FORBIDDEN = ("normal", "no malignancy", "cancer detected", "diagnosis")


@pytest.mark.parametrize(
    ("confidence", "urgency", "timeline"),
    [
        (1.0, Urgency.ROUTINE, "standard"),
        (0.9501, Urgency.ROUTINE, "standard"),
        (0.95, Urgency.REVIEW, "24-48 h"),
        (0.9001, Urgency.REVIEW, "24-48 h"),
        (0.90, Urgency.REVIEW, "24 h"),
        (0.30, Urgency.REVIEW, "24 h"),
    ],
)
def test_benign_rows(confidence: float, urgency: Urgency, timeline: str) -> None:
    decision = decide(Label.BENIGN, confidence, 1 - confidence)
    assert (decision.urgency, decision.timeline) == (urgency, timeline)
    assert decision.requires_review is (urgency is not Urgency.ROUTINE)


@pytest.mark.parametrize("label", SUBTYPES)
@pytest.mark.parametrize(
    ("confidence", "urgency", "timeline"),
    [
        (1.0, Urgency.URGENT, "immediate"),
        (0.9001, Urgency.URGENT, "immediate"),
        (0.90, Urgency.PRIORITY, "12-24 h"),
        (0.8001, Urgency.PRIORITY, "12-24 h"),
        (0.80, Urgency.REVIEW, "24 h"),
        (0.30, Urgency.REVIEW, "24 h"),
    ],
)
def test_malignant_rows(label: Label, confidence: float, urgency: Urgency, timeline: str) -> None:
    decision = decide(label, confidence, confidence)
    assert (decision.urgency, decision.timeline) == (urgency, timeline)
    assert decision.requires_review is (urgency is not Urgency.URGENT)


def test_a_doubt_between_subtypes_is_told_from_a_benign_doubt() -> None:
    assert "subtype_uncertain" in decide(Label.EARLY, 0.5, 0.99).reasons
    assert "subtype_uncertain" not in decide(Label.EARLY, 0.5, 0.5).reasons


def test_an_unknown_policy_version_is_refused() -> None:
    with pytest.raises(KeyError):
        decide(Label.PRO, 0.9, 0.9, version="0")


def test_no_finding_uses_a_forbidden_word() -> None:
    assert all(word not in text for text in DISPLAY.values() for word in FORBIDDEN)
    assert set(DISPLAY) == set(LABELS)


def test_temperature_one_changes_nothing_and_higher_ones_soften() -> None:
    raw = np.array([[0.7, 0.1, 0.15, 0.05]], dtype=np.float32)
    assert np.allclose(apply_temperature(raw, 1.0), raw, atol=1e-7)
    assert apply_temperature(raw, 2.0).max() < 0.7 < apply_temperature(raw, 0.5).max()


def test_calibration_survives_certainty() -> None:
    calibrated = apply_temperature(np.array([[1, 0, 0, 0]], dtype=np.float32), 1.7)
    assert np.isfinite(calibrated).all()
    assert calibrated.sum() == pytest.approx(1)


def test_a_temperature_must_be_positive() -> None:
    with pytest.raises(ValueError, match="positive"):
        apply_temperature(np.full((1, 4), 0.25, dtype=np.float32), 0)


def _result(*rows: list[float]) -> TriageResult:
    fields = [
        field_result(index, np.array(row, dtype=np.float32), np.array(row))
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
