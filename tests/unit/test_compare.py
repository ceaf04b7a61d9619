"""In what two result documents differ."""

from __future__ import annotations

import pytest

from services.cli.replaying import compare
from shared.triage.compare import ABSENT, Difference, differences

DOCUMENT = {"a/b": 1.5, "list": [{"x": True}, "y"], "none": None}


def test_a_document_is_the_same_as_itself() -> None:
    assert differences(DOCUMENT, {**DOCUMENT}) == []


@pytest.mark.parametrize(
    ("now", "found"),
    [
        ({**DOCUMENT, "a/b": 1.25}, Difference("/a~1b", 1.5, 1.25)),
        ({**DOCUMENT, "list": [{"x": False}, "y"]}, Difference("/list/0/x", True, False)),
        ({**DOCUMENT, "list": [{"x": 1}, "y"]}, Difference("/list/0/x", True, 1)),
        ({**DOCUMENT, "list": [{"x": True}]}, Difference("/list/1", "y", ABSENT)),
        ({**DOCUMENT, "new": 0}, Difference("/new", ABSENT, 0)),
        ({**DOCUMENT, "none": {}}, Difference("/none", None, {})),
    ],
    ids=["number", "boolean", "boolean as number", "shorter list", "new name", "null"],
)
def test_what_differs_is_named_by_its_pointer(now: dict, found: Difference) -> None:
    assert differences(DOCUMENT, now) == [found]


@pytest.mark.parametrize(
    ("pointer", "by", "is_rounding"),
    [
        ("/images/0/unlikeness", 1e-9, True),
        ("/images/0/unlikeness", 1e-5, False),
        ("/images/0/similar/2/distance", 0.001, True),
        ("/images/0/similar/2/distance", 0.002, False),
        ("/confidence", 1e-4, False),
    ],
)
def test_only_what_the_size_of_a_batch_explains_is_rounding(
    pointer: str, by: float, is_rounding: bool
) -> None:
    assert Difference(pointer, 0.5, 0.5 + by).is_rounding is is_rounding


def test_another_word_is_never_rounding() -> None:
    assert not Difference("/urgency", "urgent", "routine").is_rounding
    assert not Difference("/requires_review", True, False).is_rounding


MADE = {"software": "2", "computed_by": "e", "decoded_by": "d", "policy_sha256": "p"}
RESULT = {"urgency": "urgent", "within_hours": 0, "created_at": "now", "provenance": MADE}


def test_times_count_for_nothing_and_the_place_is_told_apart() -> None:
    elsewhere = {**RESULT, "created_at": "later", "provenance": {**MADE, "software": "3"}}
    assert compare(RESULT, elsewhere) == ([], [Difference("/provenance/software", "2", "3")], [])


def test_another_policy_table_under_the_same_version_is_a_difference() -> None:
    changed = {**RESULT, "provenance": {**MADE, "policy_sha256": "q"}}
    assert compare(RESULT, changed)[0] == [Difference("/provenance/policy_sha256", "p", "q")]


def test_a_result_of_an_earlier_release_lacks_fields_and_says_what_was_assumed() -> None:
    found, _, assumed = compare({"urgency": "urgent"}, RESULT)
    assert found == []
    assert len(assumed) == 1


def test_a_field_taken_out_of_a_result_of_this_release_is_a_difference() -> None:
    cut = {name: value for name, value in RESULT.items() if name != "within_hours"}
    assert compare(cut, RESULT)[0] == [Difference("/within_hours", ABSENT, 0)]


def test_a_field_that_every_release_wrote_is_missed_in_any_result() -> None:
    assert compare({"within_hours": 0}, RESULT)[0] == [Difference("/urgency", ABSENT, "urgent")]
