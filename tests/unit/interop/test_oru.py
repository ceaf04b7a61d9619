"""A result as ORU^R01, read back by the `hl7` library: whole, preliminary, and safe in any text."""

from __future__ import annotations

import uuid
from dataclasses import replace

import hl7
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.errors import NoResultError
from shared.interop.hl7.er7 import components, escaped, header, message, repeated, segment
from shared.interop.hl7.oru import control_id_of, oru_r01
from shared.jobs.entities import Job
from shared.triage.labels import LABELS
from shared.triage.wording import Language
from shared.triage.wording.english import ENGLISH
from shared.triage.wording.indonesian import INDONESIAN
from tests.unit.interop.finished import CLEAR, DOUBTFUL, JOB_ID, QUALITY, URGENT, finished

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
"""What UTF-8 can hold."""


def read(job: Job, **options: object) -> hl7.Message:
    written = oru_r01(job, **{"control_id": "C-1", **options})
    return hl7.parse(written.encode())


def observed(parsed: hl7.Message, code: str, index: str = "") -> hl7.Segment:
    found = [
        one for one in parsed.segments("OBX") if str(one[3][0][0]) == code and str(one[4]) == index
    ]
    assert len(found) == 1
    return found[0]


def test_the_message_says_what_it_is() -> None:
    parsed = read(finished(), receiving="LIS")
    header = parsed.segment("MSH")
    assert (str(header[3]), str(header[5]), str(header[10])) == ("HEMOTRIAGE", "LIS", "C-1")
    assert str(header[9]) == "ORU^R01^ORU_R01"
    assert (str(header[11]), str(header[12]), str(header[18])) == ("P", "2.5.1", "UNICODE UTF-8")
    assert str(header[7]) == "20260102030405+0000"
    names = [str(one[0]) for one in parsed]
    assert names[:5] == ["MSH", "SFT", "PID", "ORC", "OBR"]
    assert set(names[5:]) == {"NTE", "OBX", "SPM"}
    assert names[-1] == "SPM"


def test_each_segment_ends_with_a_carriage_return_and_has_no_line_feed() -> None:
    written = oru_r01(finished(), control_id="C-1")
    assert written.endswith("\r")
    assert "\n" not in written


def test_order_patient_and_specimen_are_known_by_their_numbers_alone() -> None:
    parsed = read(finished())
    for name in ("ORC", "OBR"):
        one = parsed.segment(name)
        assert str(one[2]) == "A-17"
        assert str(one[3]) == f"{JOB_ID}^HEMOTRIAGE"
    patient = parsed.segment("PID")
    assert str(patient[3]) == "pn-abc"
    assert str(patient[5]) == "^^^^^^S", "no name"
    assert str(parsed.segment("SPM")[2]) == "S-3"
    assert [str(part) for part in parsed.segment("OBR")[4][0][:3]] == [
        "5909-7",
        "Blood smear finding [Identifier] in Blood by Light microscopy",
        "LN",
    ]


def test_what_is_not_known_is_left_out() -> None:
    parsed = read(finished(accession_number=None, specimen_id=None, patient_ref=None))
    assert {str(one[0]) for one in parsed} == {"MSH", "SFT", "ORC", "OBR", "NTE", "OBX"}
    assert str(parsed.segment("OBR")[2]) == ""


def test_nothing_is_final() -> None:
    parsed = read(finished(URGENT, CLEAR))
    assert str(parsed.segment("OBR")[25]) == "P"
    assert {str(one[11]) for one in parsed.segments("OBX")} == {"P"}


def test_the_observations_of_the_job_are_those_of_the_result() -> None:
    job = finished(DOUBTFUL, CLEAR)
    assert job.result is not None
    parsed = read(job)
    pattern = observed(parsed, "pattern")
    assert str(pattern[2]) == "CWE"
    assert str(pattern[5]) == "pattern-early^pattern consistent with Early Pre-B ALL^99HEM"
    for label in LABELS:
        one = observed(parsed, f"p-{label.lower()}")
        assert (str(one[2]), str(one[6])) == ("NM", "1^no units^UCUM")
        assert float(str(one[5])) == pytest.approx(job.result["probabilities"][label], abs=1e-6)
    assert float(str(observed(parsed, "p-all")[5])) == pytest.approx(0.99)
    assert str(observed(parsed, "urgency")[5]) == "urgency-priority^priority^99HEM"
    assert str(observed(parsed, "action")[5]) == "priority review and confirmation"
    assert str(observed(parsed, "timeline")[5]) == "12-24 h"
    assert str(observed(parsed, "requires-review")[5]) == "Y^^HL70136"
    reasons = observed(parsed, "review-reason")[5]
    assert [str(one[0]) for one in reasons] == job.result["reasons"]


def test_the_reasons_of_several_fields_say_whose_they_are() -> None:
    parsed = read(finished(URGENT, DOUBTFUL))
    assert str(observed(parsed, "p-early")[5]) == "0.99"
    codes = ("low_confidence", "subtype_uncertain")
    explained = [[code, ENGLISH.reasons[code], "99HEM"] for code in codes]
    named = [[code, f"field 2: {text}", system] for code, text, system in explained]

    def said(index: str) -> list[list[str]]:
        return [[str(part) for part in one] for one in observed(parsed, "review-reason", index)[5]]

    assert said("") == named
    assert said("1") == explained
    parsed = read(finished(DOUBTFUL))
    assert said("") == said("0") == explained, "one field"


def test_each_field_has_its_own_with_its_quality() -> None:
    parsed = read(finished(DOUBTFUL, CLEAR))
    assert str(observed(parsed, "pattern", "0")[5]).startswith("pattern-early")
    assert str(observed(parsed, "pattern", "1")[5]).startswith("pattern-benign")
    assert str(observed(parsed, "q-cells", "1")[5]) == str(QUALITY.nucleated_cells)
    assert str(observed(parsed, "q-background", "1")[5]) == "250"
    numbers = [int(str(one[1])) for one in parsed.segments("OBX")]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize(("row", "flag"), [(URGENT, "AA"), (DOUBTFUL, "A"), (CLEAR, "")])
def test_an_urgency_is_flagged(row: tuple[float, ...], flag: str) -> None:
    parsed = read(finished(row))
    assert str(observed(parsed, "urgency")[8]) == flag
    assert "N" not in {str(one[8]) for one in parsed.segments("OBX")}


def test_the_notes_say_what_it_is_not() -> None:
    notes = [str(one[3]) for one in read(finished()).segments("NTE")]
    assert notes == [ENGLISH.disclaimer, ENGLISH.limits]


def test_texts_follow_the_language_and_codes_do_not() -> None:
    parsed = read(finished(), language=Language.INDONESIAN)
    assert str(parsed.segment("MSH")[19]) == "id^Indonesian^ISO639"
    notes = [str(one[3]) for one in parsed.segments("NTE")]
    assert notes == [INDONESIAN.disclaimer, INDONESIAN.limits]
    pattern = observed(parsed, "pattern")
    assert str(pattern[5]) == "pattern-early^pola sesuai dengan LLA Early Pre-B^99HEM"


def test_a_small_probability_is_no_nothing_and_a_large_one_no_certainty() -> None:
    parsed = read(finished((0.000_01, 0.999_97, 0.000_01, 0.000_01)))
    assert str(observed(parsed, "p-benign")[5]) == "0.00001"
    assert str(observed(parsed, "p-early")[5]) == "0.99997"


def test_the_same_arguments_give_the_same_message() -> None:
    first, again = (oru_r01(finished(), control_id="C-1") for _ in range(2))
    assert first == again


def test_a_control_id_fits_and_is_that_of_its_event() -> None:
    event, other = uuid.uuid4(), uuid.uuid4()
    assert control_id_of(event) == control_id_of(event) != control_id_of(other)
    assert len(control_id_of(event)) == 20
    assert control_id_of(event).isalnum()


def test_a_job_without_a_result_has_no_message() -> None:
    with pytest.raises(NoResultError):
        oru_r01(replace(finished(), result=None), control_id="C-1")


@settings(max_examples=150, deadline=None)
@example("|^~\\&\r\n\x00\x7f\\F\\ \x85\u2028é漢😀", "\\E\\", "")
@given(ANY_TEXT, ANY_TEXT, ANY_TEXT)
def test_any_text_survives_in_every_place(one: str, other: str, third: str) -> None:
    written = message(
        (
            header({3: components(one), 10: "C"}),
            segment("NTE", {1: "1", 3: escaped(one), 4: "end"}),
            segment(
                "OBX",
                {3: repeated((components("c", one, other), components("d", third))), 4: "end"},
            ),
        )
    )
    parsed = hl7.parse(written.encode())
    assert len(parsed) == 3

    def unescaped(part: object) -> str:
        return str(parsed.unescape(str(part)))

    assert unescaped(parsed.segment("MSH")[3]) == one
    assert unescaped(parsed.segment("NTE")[3]) == one
    first, second = parsed.segment("OBX")[3]
    said = [unescaped(part) for part in first] + [""] * 2
    assert said[:3] == ["c", one, other]
    said = [unescaped(part) for part in second] + [""]
    assert said[:2] == ["d", third]


@settings(max_examples=25, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=128))
def test_no_identifier_can_forge_a_segment_or_a_field(text: str) -> None:
    job = finished(accession_number=text, specimen_id=text, patient_ref=text)
    plain = finished(accession_number="a", specimen_id="a", patient_ref="a")
    parsed, shape = read(job), read(plain)
    assert [(str(one[0]), len(one)) for one in parsed] == [(str(one[0]), len(one)) for one in shape]
    for name, at in (("PID", 3), ("OBR", 2), ("SPM", 2)):
        assert parsed.unescape(str(parsed.segment(name)[at])) == text
