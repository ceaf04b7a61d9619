"""Each code says what it means and where that stands, and the document has the same table."""

from __future__ import annotations

import re

import pytest

from shared.interop import codes
from shared.settings import PROJECT_ROOT
from shared.triage.policy import Urgency
from tests.unit.test_wording import FORBIDDEN

LONGEST_IN_HL7 = 20  # CWE.1 of v2.5.1
TOO_LONG = {"several_labels_possible"}  # a code of JSON results, which is kept


def test_no_code_stands_for_two_things() -> None:
    known = [(concept.system.uri, concept.code) for concept in codes.table()]
    assert len(set(known)) == len(known)
    displays = [concept.display for concept in codes.table()]
    assert len(set(displays)) == len(displays)


def test_every_code_of_a_standard_names_its_source_and_every_other_is_marked_local() -> None:
    for concept in codes.table():
        is_local = concept.source.startswith("local")
        assert is_local is (concept.system is codes.LOCAL), concept
        assert is_local or re.search(r", \d{4}-\d\d-\d\d$", concept.source), concept


def test_no_code_says_that_a_disease_was_found() -> None:
    """What stands in the table itself; the texts of `wording` have their own test."""
    own = [one for one in codes.table() if one.system is codes.LOCAL]
    said = [one for one in own if one not in codes.REASONS.values()]
    wrong = [
        (one.display, word)
        for one in said
        for word in FORBIDDEN["en"]
        if word in one.display.lower()
    ]
    assert wrong == []
    assert not any("snomed" in one.system.uri for one in codes.table())


def test_codes_fit_the_standards() -> None:
    for concept in codes.table():
        if concept.code not in TOO_LONG:
            assert len(concept.code) <= LONGEST_IN_HL7, concept
        assert concept.code == concept.code.strip() != ""
    assert codes.LOCAL.dicom.startswith("99")
    assert len(codes.LOCAL.dicom) <= 16
    assert codes.LOCAL.hl7.startswith("99")


@pytest.mark.parametrize(
    ("urgency", "requires_review", "flag"),
    [
        (Urgency.URGENT, False, "AA"),
        (Urgency.PRIORITY, True, "A"),
        (Urgency.REVIEW, True, "A"),
        (Urgency.ROUTINE, True, "A"),
        (Urgency.ROUTINE, False, None),
    ],
)
def test_whatever_must_be_looked_at_is_flagged(
    urgency: Urgency, requires_review: bool, flag: str | None
) -> None:
    found = codes.flag(urgency, requires_review=requires_review)
    assert (found and found.code) == flag


def test_a_reason_of_another_release_keeps_its_words() -> None:
    other = codes.reason("of_another_release", "why it was asked for")
    assert (other.code, other.display) == ("of_another_release", "why it was asked for")
    assert codes.reason("out_of_focus", "said otherwise") is codes.REASONS["out_of_focus"]


def test_the_document_has_the_table() -> None:
    text = (PROJECT_ROOT / "docs" / "lis.md").read_text()
    head = "| system | code | display | source |\n| --- | --- | --- | --- |\n"
    table = text.split(head)[1].split("\n\n")[0]
    assert table.strip().splitlines() == [
        f"| {one.system.name} | `{one.code}` | {one.display} | {one.source} |"
        for one in codes.table()
    ]
