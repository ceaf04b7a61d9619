"""Each code says what it means and where that stands, and the document has the same table."""

from __future__ import annotations

import re

import pytest
from highdicom.sr import CodedConcept
from pydicom.sr.codedict import codes as dcm

from shared.interop import codes
from shared.settings import PROJECT_ROOT
from shared.triage.policy import Reason, Urgency
from tests.unit.test_wording import FORBIDDEN

LONGEST_IN_HL7 = 20  # ST of CWE.1, v2.5.1 section 2.A.13
LONGEST_CODE_IN_DICOM = 16  # SH of Code Value, PS3.3 section 8.1


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


@pytest.mark.parametrize("concept", list(codes.table()), ids=lambda concept: concept.code)
def test_a_code_fits_every_form(concept: codes.Concept) -> None:
    assert re.fullmatch(r"[!-~]+", concept.code)  # no space: FHIR's type code
    assert len(concept.code) <= LONGEST_IN_HL7
    if concept.system.dicom:
        coded = CodedConcept(concept.code, concept.system.dicom, "meaning")
        is_long = len(concept.code) > LONGEST_CODE_IN_DICOM
        assert ("LongCodeValue" in coded) is is_long
        assert ("CodeValue" in coded) is not is_long
        assert len(concept.system.dicom) <= 16


def test_a_reason_is_known_by_the_code_of_json_and_said_by_a_shorter_one() -> None:
    assert codes.reason("several_labels_possible", "").code == "several_labels"
    assert set(codes.REASONS) == {reason.value for reason in Reason}


def test_local_systems_are_marked_as_local() -> None:
    assert codes.LOCAL.dicom.startswith("99")
    assert codes.LOCAL.hl7.startswith("99")


def test_codes_that_dicom_has_are_those_of_its_dictionary() -> None:
    unit, known = codes.NO_UNIT, dcm.UCUM.NoUnits
    assert (unit.code, unit.display) == (known.value, known.meaning)
    assert unit.system.dicom == known.scheme_designator
    assert (dcm.SCT.Yes.value, dcm.SCT.No.value) == ("373066001", "373067005")


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
