"""What an HL7 message orders is understood, or refused for what is wrong with it."""

from __future__ import annotations

import datetime as dt

import hl7
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from shared.interop.dicom.deidentify import pseudonym
from shared.interop.hl7.ack import Refusal, acknowledge
from shared.interop.hl7.mllp import check_acknowledged
from shared.interop.hl7.orders import MAX_ORDERS, VERSIONS, OrderRequest, read_orders
from shared.interop.hl7.read import Condition, Hl7Error, read_message
from shared.jobs.states import Priority
from shared.webhooks.call import CallFailedError
from tests.dicom import SECRET
from tests.hl7_orders import AUTHORITY, BIRTH, NAME, NUMBER, PID, fields, message, order, placed

AT = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)


def read(text: str | bytes, accession_field="ORC-2") -> tuple[OrderRequest, ...]:
    data = text if isinstance(text, bytes) else text.encode()
    return read_orders(
        read_message(data), accession_field=accession_field, secret=SecretStr(SECRET)
    )


def refusal(text: str | bytes, **more) -> Hl7Error:
    with pytest.raises(Hl7Error) as refused:
        read(text, **more)
    return refused.value


def test_an_order_is_read_with_its_patient_as_a_pseudonym() -> None:
    (request,) = read(placed("ACC-1"))
    assert not request.cancels
    made = request.order
    assert (made.accession_number, made.placer_number, made.filler_number) == (
        "ACC-1",
        "ACC-1",
        "FILL-1",
    )
    assert (made.placer, made.specimen_id, made.priority) == ("LIS|LAB", "SLIDE-1", "routine")
    assert (made.procedure_code, made.procedure_system) == ("5909-7", "LN")
    assert made.scheduled_at == dt.datetime(2026, 1, 2, 23, tzinfo=dt.UTC)
    assert made.patient_ref == pseudonym(SecretStr(SECRET), NUMBER, AUTHORITY)
    assert not [word for word in (NAME, BIRTH, NUMBER) if word in repr(made)]


def test_several_orders_of_a_message_are_told_apart() -> None:
    lines = (*order("A", "NW"), *order("B", "XO"), *order("C", "CA"), *order("D", "DC"))
    requests = read(message(*lines))
    assert [(each.order.accession_number, each.cancels) for each in requests] == [
        ("A", False),
        ("B", False),
        ("C", True),
        ("D", True),
    ]


@pytest.mark.parametrize(
    ("field", "number"),
    [
        ("ORC-2", "P"),
        ("ORC-3", "F"),
        ("OBR-2", "OP"),
        ("OBR-3", "OF"),
        ("OBR-18", "PF1"),
        ("SPM-2", "S"),
    ],
)
def test_the_accession_number_is_where_the_operator_says(field: str, number: str) -> None:
    text = message("ORC|NW|P^X|F^Y", "OBR|1|OP|OF|CODE||||||||||||||PF1", "SPM|1|S&LIS")
    (request,) = read(text, accession_field=field)
    assert request.order.accession_number == number


def test_an_obr_has_the_number_that_its_orc_leaves_out() -> None:
    (request,) = read(message("ORC|NW", "OBR|1|ACC-7|FILL-7|CODE"))
    assert (request.order.accession_number, request.order.filler_number) == ("ACC-7", "FILL-7")


@pytest.mark.parametrize(
    "lines",
    [
        ("ORC|NW|A|||||^^^^^{}", "OBR|1|A"),
        ("ORC|NW|A", "OBR|1|A||C|{}"),
        ("ORC|NW|A", "OBR|1|A" + "|" * 25 + "^^^^^{}"),
        ("ORC|NW|A", "TQ1|1||||||||{}^x^HL70485", "OBR|1|A"),
    ],
    ids=["ORC-7.6", "OBR-5", "OBR-27.6", "TQ1-9"],
)
@pytest.mark.parametrize(
    ("code", "priority"), [("S", "stat"), ("A", "urgent"), ("P", "urgent"), ("R", "routine")]
)
def test_the_priority_is_found_where_each_version_has_it(lines, code, priority) -> None:
    (request,) = read(message(*(line.format(code) for line in lines)))
    assert request.order.priority == priority


def test_of_several_timings_the_most_urgent_counts_and_none_is_routine() -> None:
    timings = ("TQ1|1||||||||R", "TQ1|2||||||||S")
    (request,) = read(message("ORC|NW|A", *timings, "OBR|1|A"))
    assert request.order.priority is Priority.STAT
    assert read(message("ORC|NW|A"))[0].order.priority is Priority.ROUTINE


@pytest.mark.parametrize(
    "lines",
    [
        ("ORC|NW|A", "TQ1|1||||||20260104~20260103||R~S", "OBR|1|A"),
        ("ORC|NW|A|||||^^^20260104^^R~^^^20260103^^S", "OBR|1|A"),
    ],
    ids=["TQ1", "ORC-7"],
)
def test_of_a_timing_that_repeats_the_most_urgent_and_the_earliest_count(lines) -> None:
    (request,) = read(message(*lines))
    assert request.order.priority is Priority.STAT
    assert request.order.scheduled_at == dt.datetime(2026, 1, 2, 23, tzinfo=dt.UTC)


def test_a_specimen_that_comes_first_is_that_of_the_orders_after_it() -> None:
    lines = ("SPM|1|S1", "ORC|NW|A", "OBR|1|A", "ORC|NW|B", "SPM|2|S2", "ORC|NW|C")
    requests = read(message(PID, *lines, kind="OML^O33^OML_O33"))
    assert [each.order.specimen_id for each in requests] == ["S1", "S1", "S2"]


def test_of_several_specimens_none_stands_for_the_order() -> None:
    (request,) = read(message("ORC|NW|A", "OBR|1|A", "SPM|1|S1", "SPM|2|S2"))
    assert request.order.specimen_id is None


@pytest.mark.parametrize("version", sorted(VERSIONS))
def test_messages_of_every_version_are_read(version: str) -> None:
    text = placed("ACC-1", kind="ORM^O01").replace("|2.5.1|", f"|{version}|")
    assert read(text)[0].order.accession_number == "ACC-1"


def test_other_delimiters_and_ends_of_lines_are_understood() -> None:
    text = "MSH*:;!/*LIS*LAB***20260101**ORM:O01*1*P*2.3\nORC*NW*A!F!1:LIS\r\nOBR*1\n"
    assert read(text)[0].order.accession_number == "A*1"


@pytest.mark.parametrize(
    ("charset", "codec"), [("8859/1", "latin-1"), ("UNICODE UTF-8", "utf-8"), ("", "ascii")]
)
def test_a_text_is_read_in_the_character_set_of_its_message(charset: str, codec: str) -> None:
    number = "A-1" if codec == "ascii" else "Ä-1"
    # A name in another character set than the message's own keeps no order out.
    text = placed(number, charset=charset).encode(codec).replace(NAME.encode(), b"M\xfcller")
    assert read(text)[0].order.accession_number == number


def test_a_number_beyond_the_character_set_is_refused() -> None:
    error = refusal(placed("A\u00e4", charset="ASCII").encode())
    assert (error.condition, error.place) == (Condition.DATA_TYPE, ("ORC", 1, 2))


@pytest.mark.parametrize(
    ("text", "condition", "place"),
    [
        (placed("A").replace("OML^O21^OML_O21", "ORU^R01"), "200", ("MSH", 1, 9)),
        (placed("A").replace("OML^O21^OML_O21", "OML^O99"), "201", ("MSH", 1, 9)),
        (placed("A").replace("|P|2.5.1", "|T|2.5.1"), "202", ("MSH", 1, 11)),
        (placed("A").replace("|P|2.5.1", "|D|2.5.1"), "202", ("MSH", 1, 11)),
        (placed("A").replace("|P|2.5.1", "|P|3.0"), "203", ("MSH", 1, 12)),
        (placed("A").replace("MSG-1", ""), "101", ("MSH", 1, 10)),
        (placed("A", charset="8859/8"), "103", ("MSH", 1, 18)),
        ("", "100", ("MSH", 1, 0)),
        ("PID|1", "100", ("MSH", 1, 0)),
        (placed("A").replace("MSH|^~\\&", "MSH|^^\\&"), "102", ("MSH", 1, 2)),
        (message(PID), "100", ("ORC", 1, 0)),
        (message(PID, "OBR|1|A"), "100", ("OBR", 1, 0)),
        (message(PID, *order("A"), PID, *order("B")), "100", ("PID", 2, 0)),
        (message("ORC|NW|A", "OBR|1|A", "OBR|2|A"), "100", ("OBR", 2, 0)),
        (placed("A") + placed("B"), "100", ("MSH", 2, 0)),
        (message(*[f"ORC|NW|{at}" for at in range(MAX_ORDERS + 1)]), "100", ("ORC", 1, 0)),
        (message("ORC|SC|A"), "103", ("ORC", 1, 1)),
        (message("ORC|NW|A", "ORC||B"), "101", ("ORC", 2, 1)),
        (message("ORC|NW"), "101", ("ORC", 1, 2)),
        (message('ORC|NW|""'), "101", ("ORC", 1, 2)),
        (message(*order("A", priority="T")), "103", ("TQ1", 1, 9)),
        (message("ORC|NW|A", "TQ1|1||||||2026"), "102", ("TQ1", 1, 7)),
        (message("ORC|NW|A", "TQ1|1||||||20261332"), "102", ("TQ1", 1, 7)),
        (message("ORC|NW|" + "A" * 129), "102", ("ORC", 1, 0)),
        (message("ORC|NW|A\\.sp99999999999\\"), "102", ("ORC", 1, 2)),
        (message("ORC|NW|A\\X0D\\"), "102", ("ORC", 1, 2)),
        (message("ORC|NW|A\\"), "102", ("ORC", 1, 2)),
        (message(*order("A"), *order("A")), "205", ("ORC", 2, 2)),
    ],
)
def test_what_is_wrong_is_said_by_its_place_and_code(text, condition, place) -> None:
    error = refusal(text)
    assert (error.condition.code, error.place) == (condition, place)


def test_no_refusal_repeats_what_the_message_says() -> None:
    for text in (message(PID, f"ORC|NW|{NAME}\\Z\\"), message(PID, f"ORC|{NAME}|A")):
        error = refusal(text)
        answer = acknowledge(read_message(text.encode()), Refusal.of(error), at=AT)
        assert NAME not in str(error)
        assert NAME not in answer.decode()


@given(st.text(alphabet="MSHPIDORC|^~\\&\r\n\x0b\x1cNW12 AöX"), st.booleans())
def test_whatever_comes_is_read_or_refused(text: str, with_header: bool) -> None:
    try:
        read(message(text) if with_header else text)
    except Hl7Error:
        return


def test_an_acknowledgement_turns_the_header_round_and_repeats_the_control_id() -> None:
    asked = read_message(placed("A", id="MSG\\T\\7").encode())
    answer = acknowledge(asked, None, at=AT).decode()
    header = fields(answer, "MSH")
    assert header[2:6] == ["HEMOTRIAGE", "HOSPITAL", "LIS", "LAB"]
    assert header[6] == "20260102000000+0000"
    assert (header[8], header[10:12], header[17]) == (
        "ACK^O21^ACK",
        ["P", "2.5.1"],
        "UNICODE UTF-8",
    )
    assert fields(answer, "MSA") == ["MSA", "AA", "MSG\\T\\7"]
    assert fields(answer, "ERR") == []
    assert str(hl7.parse(answer)) == answer


def test_a_refusal_says_what_is_wrong_and_where() -> None:
    asked = read_message(message("ORC|SC|A").encode())
    answer = acknowledge(asked, Refusal.of(refusal(message("ORC|SC|A"))), at=AT).decode()
    assert fields(answer, "MSA") == ["MSA", "AE", "MSG-1", "hl7_table_value_not_found"]
    err = fields(answer, "ERR")
    assert err[2:6] == [
        "ORC^1^1",
        "103^Table value not found^HL70357",
        "E",
        "hl7_table_value_not_found^^99HEM",
    ]


@pytest.mark.parametrize(
    ("condition", "code", "is_final"),
    [
        (Condition.DATA_TYPE, "ack_ae_102", True),
        (Condition.UNSUPPORTED_VERSION_ID, "ack_ar_203", True),
        (Condition.RECORD_LOCKED, "ack_ar_206", False),
        (Condition.INTERNAL_ERROR, "ack_ar_207", False),
    ],
)
def test_our_own_sender_would_send_again_what_may_be_taken_later(condition, code, is_final) -> None:
    asked = read_message(placed("A").encode())
    answer = acknowledge(asked, Refusal(condition, "some_code"), at=AT).decode()
    with pytest.raises(CallFailedError) as refused:
        check_acknowledged(answer, "MSG-1")
    assert (refused.value.code, refused.value.is_final) == (code, is_final)


def test_an_acknowledgement_is_in_the_character_set_of_the_message() -> None:
    text = placed("A", charset="8859/1").replace("|LIS|", "|L\u00c4B|")
    assert "|L\u00c4B|".encode("latin-1") in acknowledge(
        read_message(text.encode("latin-1")), None, at=AT
    )
