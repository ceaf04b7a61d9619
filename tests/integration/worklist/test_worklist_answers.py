"""A query of the worklist that is refused, taken back or cut off is told so; each is audited."""

from __future__ import annotations

import threading

import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, VLMicroscopicImageStorage
from pynetdicom.association import Association
from pynetdicom.sop_class import ModalityWorklistInformationFind

from services.gateway import worklist
from services.gateway.scp import MAX_QUERY_BYTES
from shared.audit.queries import AuditFilter, list_events
from shared.auth.hosts import parse_networks
from shared.auth.keys import Scope, create_key
from tests.integration.worklist.queries import (
    CALLER,
    DATE,
    TIME,
    ask,
    associate,
    query,
)
from tests.waiting import eventually


@pytest.mark.parametrize(
    "step", [{DATE: "20261332"}, {TIME: "1100"}, {DATE: "20260302", TIME: "1100-9999"}]
)
def test_a_query_that_means_nothing_is_refused(port: int, placed, step) -> None:
    placed()
    assert ask(port, query(step)) == ([], [0xA900])


@pytest.mark.parametrize("zone", ["+9999", "+2400", "07:00"])
def test_a_zone_that_is_none_is_refused(port: int, placed, zone: str) -> None:
    placed()
    assert ask(port, query(TimezoneOffsetFromUTC=zone)) == ([], [0xA900])


def test_a_sequence_in_place_of_a_text_is_refused_or_passed_over(port: int, placed) -> None:
    placed()
    item = Dataset()
    item.CodeValue = "X"
    for keyword, answered in (("AccessionNumber", [0xA900]), ("StudyInstanceUID", [0xFF01, 0])):
        wanted = query()
        wanted[keyword] = DataElement(keyword, "SQ", [item])
        assert ask(port, wanted)[1] == answered


def test_a_query_is_in_the_audit_trail_with_who_asked(port: int, placed, sessions) -> None:
    placed()
    ask(port, query())
    (event,) = list_events(sessions, AuditFilter(action="worklist.read"), limit=10).events
    assert event.actor == f"key:{placed('ACC-2').api_key_id}"
    assert event.details == {"caller": CALLER, "items": 1}


def test_more_items_than_an_answer_has_room_for_are_not_passed_over_in_silence(
    port: int, placed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worklist, "MAX_ITEMS", 2)
    for number in ("A", "B", "C"):
        placed(number)
    items, statuses = ask(port, query())
    assert ([item.AccessionNumber for item in items], statuses[-1]) == (["C", "B"], 0xA700)


def test_a_query_comes_as_it_is(port: int) -> None:
    """One that is deflated would be inflated in memory, whatever its size."""
    association = associate(port, DeflatedExplicitVRLittleEndian)
    assert association.is_established
    taken = {accepted.abstract_syntax for accepted in association.accepted_contexts}
    association.release()
    assert taken == {VLMicroscopicImageStorage}


def test_a_query_that_goes_on_and_on_ends_the_association(port: int, placed) -> None:
    placed()
    wanted = query()
    wanted.add_new(0x00091001, "UN", b"\0" * 3 * MAX_QUERY_BYTES)
    association = associate(port)
    answers = list(association.send_c_find(wanted, ModalityWorklistInformationFind))
    assert [status for status, _ in answers if "Status" in status] == []
    eventually(lambda: not association.is_established)
    assert ask(port, query())[1][-1] == 0


def knows_of_a_cancel() -> bool:
    """Whether the gateway, which runs in this process, has read the C-CANCEL."""
    return any(
        isinstance(one, Association) and one.dimse.cancel_req for one in threading.enumerate()
    )


def test_a_query_is_taken_back(port: int, placed, monkeypatch: pytest.MonkeyPatch) -> None:
    placed()
    has_begun, is_cancelled, item_of = threading.Event(), threading.Event(), worklist.item_of

    def held_back(*asked):
        has_begun.set()
        assert is_cancelled.wait(20)
        return item_of(*asked)

    monkeypatch.setattr(worklist, "item_of", held_back)
    association = associate(port)
    answers = association.send_c_find(query(), ModalityWorklistInformationFind, msg_id=7)
    # What comes before a query is begun cancels nothing.
    assert has_begun.wait(20)
    association.send_c_cancel(7, query_model=ModalityWorklistInformationFind)
    eventually(knows_of_a_cancel, 20)
    is_cancelled.set()
    assert [status.Status for status, _ in answers] == [0xFE00]
    association.release()


def test_a_key_that_may_not_read_or_not_from_there_is_shown_nothing(
    gateways, sessions, placed
) -> None:
    placed()
    submitter, _ = create_key(sessions, "submits", [Scope.SUBMIT])
    elsewhere, _ = create_key(
        sessions,
        "elsewhere",
        [Scope.SUBMIT, Scope.READ],
        allowed_hosts=parse_networks("192.0.2.0/24"),
    )
    for key in (submitter, elsewhere):
        assert ask(gateways(dicom_api_key_id=key.id), query()) == ([], [0x0124])
