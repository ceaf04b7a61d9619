"""The policy: every boundary of its table, and that no flag, field or doubt ever lowers urgency."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.imaging.quality import Quality, quality_faults
from shared.triage.conformal import Conformal
from shared.triage.evidence import Evidence
from shared.triage.labels import LABELS, Label
from shared.triage.policy import CURRENT_VERSION, POLICIES, Reason, Urgency, decide
from shared.triage.result import FieldResult, ModelReference, field_result, triage_result

BENIGN_ROWS = [
    (0.0, 0.90, Urgency.REVIEW, "manual review required, specialist consultation", "24 h", 24),
    (0.90, 0.95, Urgency.REVIEW, "manual verification", "24-48 h", 48),
    (0.95, 1.0, Urgency.ROUTINE, "routine follow-up", "standard", None),
]
MALIGNANT_ROWS = [
    (0.0, 0.80, Urgency.REVIEW, "manual review required, specialist consultation", "24 h", 24),
    (0.80, 0.90, Urgency.PRIORITY, "priority review and confirmation", "12-24 h", 24),
    (0.90, 1.0, Urgency.URGENT, "immediate specialist referral (haematology)", "immediate", 0),
]
"""The table of the clinical policy, written out again: above, up to and with, and what follows."""

FLAGS = [r for r in Reason if r not in (Reason.LOW_CONFIDENCE, Reason.SUBTYPE_UNCERTAIN)]


@pytest.mark.parametrize("version", POLICIES)
@pytest.mark.parametrize("label", LABELS)
def test_every_boundary_of_the_table(label: Label, version: str) -> None:
    rows = MALIGNANT_ROWS if label.is_malignant else BENIGN_ROWS
    for above, up_to, *expected in rows:
        inside = (np.nextafter(above, 1), (above + up_to) / 2, np.nextafter(up_to, 0), up_to)
        for confidence in map(float, inside):
            decision = decide(label, confidence, confidence, version=version)
            found = [decision.urgency, decision.recommended_action, decision.timeline]
            assert [*found, decision.within_hours] == expected, confidence
            plain = decision.urgency in (Urgency.ROUTINE, Urgency.URGENT)
            assert decision.requires_review is not plain


@pytest.mark.parametrize("label", LABELS)
def test_what_is_no_probability_is_reviewed(label: Label) -> None:
    for confidence in (0.0, float("nan")):
        assert decide(label, confidence, confidence).urgency is Urgency.REVIEW


@pytest.mark.parametrize("flag", FLAGS)
@pytest.mark.parametrize("label", LABELS)
def test_each_flag_forces_review_and_lowers_nothing(label: Label, flag: Reason) -> None:
    for confidence in (0.3, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 1.0):
        table = decide(label, confidence, confidence)
        flagged = decide(label, confidence, confidence, [flag])
        assert flagged.requires_review
        assert flag in flagged.reasons
        assert set(table.reasons) < set(flagged.reasons)
        assert flagged.urgency.rank <= table.urgency.rank
        assert flagged.urgency is not Urgency.ROUTINE
        assert flagged.within_hours is not None
        assert flagged.within_hours <= (table.within_hours or 48)


def test_what_is_flagged_waits_no_longer_for_more_malignant_probability() -> None:
    hours = [
        decide(Label.BENIGN, confidence, 1 - confidence, [Reason.UNLIKE_TRAINING_DATA]).within_hours
        for confidence in (0.97, 0.93, 0.85)
    ]
    assert hours == [24, 24, 24]


def test_the_first_version_of_the_policy_stays_as_it_was() -> None:
    assert CURRENT_VERSION == "2"
    decision = decide(Label.BENIGN, 0.99, 0.01, [Reason.OUT_OF_FOCUS], version="1")
    assert decision.urgency is Urgency.ROUTINE
    assert decision.requires_review


def test_an_unknown_policy_version_is_refused() -> None:
    with pytest.raises(KeyError):
        decide(Label.PRO, 0.9, 0.9, version="0")


def test_a_doubt_between_subtypes_is_told_from_a_benign_doubt() -> None:
    assert Reason.SUBTYPE_UNCERTAIN in decide(Label.EARLY, 0.5, 0.99).reasons
    assert Reason.SUBTYPE_UNCERTAIN not in decide(Label.EARLY, 0.5, 0.5).reasons


def _field(probabilities: np.ndarray, index: int = 0, **known: object) -> FieldResult:
    values = {"unlikeness": 0.5, **known}
    return field_result(
        index,
        Evidence(probabilities.astype(np.float32), probabilities, **values),  # type: ignore[arg-type]
    )


rows = st.lists(st.floats(0, 1), min_size=4, max_size=4).filter(lambda values: sum(values) > 0.01)


def _probabilities(values: list[float]) -> np.ndarray:
    row = np.array(values)
    return row / row.sum()


least = st.lists(st.floats(0, 1), min_size=4, max_size=4)


@given(rows, st.floats(0, 1), st.sampled_from([1, 2, 3]), least)
def test_more_probability_of_a_malignant_class_never_lowers_urgency(
    values: list[float], share: float, subtype: int, least: list[float]
) -> None:
    """Whatever of the benign probability goes to whichever subtype, and whatever the sets are."""
    before = _probabilities(values)
    after = before.copy()
    after[0] -= share * before[0]
    after[subtype] += share * before[0]
    conformal = Conformal(0.98, tuple(least))
    fields = []
    for row in (before, after):
        inside = conformal.sets(row[np.newaxis])[0]
        labels = tuple(label for label, held in zip(LABELS, inside, strict=True) if held)
        fields.append(_field(row, label_set=labels))
    assert fields[1].urgency.rank <= fields[0].urgency.rank


@given(st.lists(rows, min_size=1, max_size=6), rows)
def test_one_more_field_never_lowers_the_urgency_of_a_job(
    specimen: list[list[float]], further: list[float]
) -> None:
    model = ModelReference(name="m", version=1, sha256="0" * 64, engine="openvino", precision="f32")
    now = dt.datetime.now(dt.UTC)
    fields = [_field(_probabilities(row), index) for index, row in enumerate(specimen)]
    more = [*fields, _field(_probabilities(further), len(fields))]
    before, after = (
        triage_result("job", some, [model], created_at=now, timings_ms={})
        for some in (fields, more)
    )
    assert after.urgency.rank <= before.urgency.rank
    assert after.requires_review >= before.requires_review
    assert after.fields is not None
    assert after.fields.count == len(more)
    assert sum(after.fields.by_urgency.values()) == len(more)


qualities = st.builds(
    Quality,
    focus=st.sampled_from([0.0, 0.73, 0.74, 1.1]),
    background=st.sampled_from([0.0, 159.0, 160.0, 255.0]),
    bleached=st.sampled_from([0.0, 0.7, 0.71, 1.0]),
    contrast=st.sampled_from([0.0, 0.15, 0.16, 0.5]),
    stained=st.sampled_from([0.0, 0.029, 0.03, 0.5]),
    foreign=st.sampled_from([0.0, 0.2, 0.21, 1.0]),
    nucleated_cells=st.sampled_from([0, 1, 9]),
)


doubts = st.fixed_dictionaries(
    {
        "unlikeness": st.sampled_from([None, 0.2, 1.0, 1.1, 50.0]),
        "label_set": st.sampled_from([None, (), (Label.BENIGN,), (Label.BENIGN, Label.EARLY)]),
        "opinions": st.sampled_from([(), (np.eye(4)[0],), (np.eye(4)[0], np.eye(4)[2])]),
        "quality": st.none() | qualities,
    }
)


@given(rows, doubts)
def test_no_doubt_of_the_evidence_lowers_urgency(
    values: list[float], known: dict[str, object]
) -> None:
    row = _probabilities(values)
    evidence = Evidence(row.astype(np.float32), row, **known)  # type: ignore[arg-type]
    label = LABELS[int(row.argmax())]
    table = decide(label, float(row.max()), float(1 - row[0]))
    flagged = decide(label, float(row.max()), float(1 - row[0]), evidence.flags)
    assert flagged.urgency.rank <= table.urgency.rank
    assert flagged.requires_review >= bool(evidence.flags)
    if evidence.quality is not None:
        faults = [fault.value for fault in quality_faults(evidence.quality)]
        assert set(faults) <= {reason.value for reason in flagged.reasons}
        without = decide(
            label, float(row.max()), float(1 - row[0]), replace(evidence, quality=None).flags
        )
        assert flagged.urgency.rank <= without.urgency.rank, "a failed quality gate lowers nothing"


GOOD = Quality(
    focus=1.1, background=220, bleached=0.1, contrast=0.5, stained=0.3, foreign=0.0,
    nucleated_cells=8,
)  # fmt: skip


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({"quality": GOOD}, []),
        ({"quality": replace(GOOD, focus=0.5)}, [Reason.OUT_OF_FOCUS]),
        ({"quality": replace(GOOD, background=90)}, [Reason.POOR_EXPOSURE]),
        ({"quality": replace(GOOD, contrast=0.05)}, [Reason.LOW_CONTRAST]),
        ({"quality": replace(GOOD, stained=0.0)}, [Reason.NOT_A_STAINED_SMEAR]),
        ({"quality": replace(GOOD, nucleated_cells=0)}, [Reason.TOO_FEW_CELLS]),
        ({"unlikeness": float("nan")}, [Reason.UNLIKE_TRAINING_DATA]),
        ({"label_set": (Label.PRE,)}, [Reason.ANOTHER_LABEL_FITS]),
        ({"unlikeness": 1.0}, []),
        ({"unlikeness": 1.01}, [Reason.UNLIKE_TRAINING_DATA]),
        ({"unlikeness": None}, [Reason.INPUT_NOT_CHECKED]),
        ({"label_set": (Label.EARLY,)}, []),
        ({"label_set": ()}, [Reason.NO_LABEL_FITS]),
        ({"label_set": (Label.BENIGN, Label.EARLY)}, [Reason.SEVERAL_LABELS]),
        ({"opinions": (np.eye(4)[1], np.eye(4)[1])}, []),
        ({"opinions": (np.eye(4)[1], np.eye(4)[0])}, [Reason.MEMBERS_DISAGREE]),
    ],
)
def test_what_raises_which_flag(known: dict[str, object], expected: list[Reason]) -> None:
    row = np.array([0.01, 0.97, 0.01, 0.01])
    values = {"unlikeness": 0.0, **known}
    evidence = Evidence(row.astype(np.float32), row, **values)  # type: ignore[arg-type]
    assert list(evidence.flags) == expected


def test_flags_of_every_kind_are_listed_together() -> None:
    row = np.array([0.97, 0.01, 0.01, 0.01])
    evidence = Evidence(
        row.astype(np.float32),
        row,
        opinions=(np.eye(4)[1],),
        label_set=(Label.BENIGN, Label.EARLY),
        unlikeness=7.0,
    )
    assert len(evidence.flags) == len(set(evidence.flags)) == 3
