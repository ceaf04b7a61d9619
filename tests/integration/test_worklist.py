"""A modality asks the gateway for its worklist, and is told which orders await images."""

from __future__ import annotations

import datetime as dt
import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest
from pydantic import SecretStr
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import VLMicroscopicImageStorage
from pynetdicom import AE
from pynetdicom.sop_class import ModalityWorklistInformationFind
from sqlalchemy import select

from services.gateway import worklist
from services.gateway.main import create_intake
from services.gateway.scp import Gateway
from shared.audit.queries import AuditFilter, list_events
from shared.auth.hosts import parse_networks
from shared.auth.keys import Scope, create_key
from shared.db.models import JobRow
from shared.interop.dicom.deidentify import pseudonym
from shared.jobs.cancel import cancel
from shared.jobs.states import Priority
from shared.orders.claim import claim
from shared.orders.entities import NewOrder
from shared.orders.place import cancel_order, place
from shared.settings import Settings
from tests import dicom
from tests.integration.jobs import finish, post, take

CALLER, CALLED = "SCOPE1", "HEMOTRIAGE"
PATIENT = "pn-abcdefghijklmnopqrst"
NOON = dt.datetime(2026, 3, 2, 12, tzinfo=dt.UTC)


@pytest.fixture
def reader_id(sessions) -> str:
    return create_key(sessions, "modalities", [Scope.SUBMIT, Scope.READ])[0].id


@pytest.fixture
def gateways(settings: Settings, sessions, storage, reader_id: str) -> Iterator[object]:
    running = []

    def start(**changes: object) -> int:
        told = {"dicom_api_key_id": reader_id, "dicom_calling_aes": f"{CALLER}@127.0.0.1"}
        gateway = Gateway(create_intake(settings.model_copy(update={**told, **changes})))
        port = gateway.start()
        running.append(gateway)
        return port

    yield start
    for gateway in running:
        gateway.close()


@pytest.fixture
def port(gateways) -> int:
    return gateways()


@pytest.fixture
def placed(sessions, reader_id: str):
    def make(number: str = "ACC-1", **fields: object):
        return place(sessions, NewOrder(number, **fields), key_id=reader_id)[0]

    return make


def query(step: dict[str, str] | None = None, **keys: str) -> Dataset:
    """What most modalities ask for."""
    wanted, of_step = Dataset(), Dataset()
    for keyword in ("AccessionNumber", "PatientID", "PatientName", "PatientBirthDate"):
        setattr(wanted, keyword, keys.pop(keyword, ""))
    for keyword, value in {"StudyInstanceUID": "", "RequestedProcedureID": "", **keys}.items():
        setattr(wanted, keyword, value)
    for keyword in ("Modality", "ScheduledStationAETitle", "ScheduledProcedureStepID"):
        setattr(of_step, keyword, "")
    of_step.ScheduledProcedureStepStartDate = of_step.ScheduledProcedureStepStartTime = ""
    for keyword, value in (step or {}).items():
        setattr(of_step, keyword, value)
    wanted.ScheduledProcedureStepSequence = [of_step]
    return wanted


def associate(port: int):
    entity = AE(ae_title=CALLER)
    entity.add_requested_context(ModalityWorklistInformationFind)
    entity.add_requested_context(VLMicroscopicImageStorage)
    return entity.associate("127.0.0.1", port, ae_title=CALLED)


def ask(port: int, wanted: Dataset) -> tuple[list[Dataset], list[int]]:
    """The items of an answer, and its statuses."""
    association = associate(port)
    assert association.is_established
    answers = list(association.send_c_find(wanted, ModalityWorklistInformationFind))
    association.release()
    items = [item for _, item in answers if item is not None]
    return items, [status.Status for status, _ in answers]


def numbers(port: int, wanted: Dataset) -> list[str]:
    items, statuses = ask(port, wanted)
    assert statuses[-1] == 0
    return sorted(item.AccessionNumber for item in items)


def test_an_expected_order_is_an_item_with_what_was_asked_for(port: int, placed) -> None:
    order = placed(
        patient_ref=PATIENT,
        priority=Priority.STAT,
        specimen_id="SLIDE-1",
        procedure_code="5909-7",
        procedure_system="LN",
        scheduled_at=NOON,
    )
    wanted = query(RequestedProcedurePriority="")
    wanted.RequestedProcedureCodeSequence = []
    wanted.ScheduledSpecimenSequence = []
    wanted.ReferencedStudySequence = []
    ((item,), statuses) = ask(port, wanted)
    assert statuses == [0xFF01, 0], "the birth date is no key of this worklist"
    assert (item.AccessionNumber, item.RequestedProcedureID) == ("ACC-1", "ACC-1")
    assert (item.PatientID, item.PatientName, item.PatientBirthDate) == (PATIENT, PATIENT, "")
    assert item.RequestedProcedurePriority == "STAT"
    assert re.fullmatch(r"2\.25\.\d+", item.StudyInstanceUID)
    (step,) = item.ScheduledProcedureStepSequence
    assert (step.Modality, step.ScheduledStationAETitle) == ("SM", CALLER)
    assert step.ScheduledProcedureStepStartDate == "20260302"
    assert step.ScheduledProcedureStepStartTime == "120000"
    (code,) = item.RequestedProcedureCodeSequence
    assert (code.CodeValue, code.CodingSchemeDesignator) == ("5909-7", "LN")
    (container,) = item.ScheduledSpecimenSequence
    assert container.SpecimenDescriptionSequence[0].SpecimenIdentifier == "SLIDE-1"
    assert len(item.ReferencedStudySequence) == 0
    assert "RequestedProcedureDescription" not in item
    assert str(order.id) not in str(item)


def test_an_image_made_by_the_worklist_is_of_the_same_patient_and_order(
    gateways, placed, sessions
) -> None:
    secret = SecretStr(dicom.SECRET)
    order = placed(patient_ref=pseudonym(secret, dicom.PATIENT_ID, dicom.ISSUER))
    port = gateways(pseudonym_secret=secret)
    ((item,), _) = ask(port, query())
    names = ("AccessionNumber", "PatientID", "PatientName", "StudyInstanceUID")
    image = dicom.dataset(**{name: item[name].value for name in names})
    association = associate(port)
    assert association.send_c_store(image).Status == 0
    association.release()
    with sessions() as session:
        job = session.scalars(select(JobRow)).one()
    assert (job.accession_number, job.patient_ref) == ("ACC-1", order.patient_ref)


def test_the_study_is_the_same_whenever_it_is_asked_for(port: int, placed) -> None:
    placed()
    placed("ACC-2", study_uid="1.2.3")
    wanted = query(AccessionNumber="ACC-1")
    assert ask(port, wanted)[0][0].StudyInstanceUID == ask(port, wanted)[0][0].StudyInstanceUID
    ((item,), _) = ask(port, query(AccessionNumber="ACC-2"))
    assert item.StudyInstanceUID == "1.2.3"


def test_only_orders_that_await_images_are_listed(
    port: int, placed, sessions, storage, reader_id: str
) -> None:
    cancel_order(sessions, placed("CANCELLED").id, key_id=reader_id)
    claim(sessions, placed("CLAIMED").id, "1.2.3", key_id=reader_id)
    placed("A-NUMBER-THAT-DICOM-CUTS")
    placed("TWO\\VALUES")
    for number in ("ACC-1", "QUEUED", "TAKEN-BACK", "DONE"):
        placed(number)
    jobs = {
        number: post(sessions, storage, reader_id, accession_number=number).job
        for number in ("QUEUED", "TAKEN-BACK", "DONE")
    }
    cancel(sessions, jobs["TAKEN-BACK"].id, actor="test")
    assert finish(sessions, take(sessions, jobs["DONE"]))
    assert numbers(port, query()) == ["ACC-1", "QUEUED", "TAKEN-BACK"]


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ({}, ["A-1", "A-2", "B-1"]),
        ({"AccessionNumber": "A-1"}, ["A-1"]),
        ({"AccessionNumber": "A-*"}, ["A-1", "A-2"]),
        ({"AccessionNumber": "?-1"}, ["A-1", "B-1"]),
        ({"AccessionNumber": "A%"}, []),
        ({"AccessionNumber": "*"}, ["A-1", "A-2", "B-1"]),
        ({"RequestedProcedureID": "A-2"}, ["A-2"]),
        ({"AccessionNumber": "A-1", "RequestedProcedureID": "A-2"}, []),
        ({"PatientID": PATIENT}, ["A-1"]),
        ({"PatientName": "pn-*"}, ["A-1"]),
        ({"PatientName": "Synthetic^Person"}, []),
    ],
)
def test_what_must_match_does(port: int, placed, keys: dict[str, str], found: list[str]) -> None:
    placed("A-1", patient_ref=PATIENT)
    placed("A-2")
    placed("B-1")
    assert numbers(port, query(**keys)) == found


DATE, TIME = "ScheduledProcedureStepStartDate", "ScheduledProcedureStepStartTime"


@pytest.mark.parametrize(
    ("step", "found"),
    [
        ({"Modality": "SM"}, ["AT-11", "AT-12", "LATER"]),
        ({"Modality": "GM", "ScheduledStationAETitle": "SCOPE9"}, ["AT-11", "AT-12", "LATER"]),
        ({"Modality": "CT"}, []),
        ({"ScheduledPerformingPhysicianName": "Synthetic^Physician"}, []),
        ({"ScheduledProcedureStepID": "AT-11"}, ["AT-11"]),
        ({DATE: "20260302"}, ["AT-11", "AT-12"]),
        ({DATE: "20260302-20260303"}, ["AT-11", "AT-12", "LATER"]),
        ({DATE: "-20260302"}, ["AT-11", "AT-12"]),
        ({DATE: "20260303-"}, ["LATER"]),
        ({DATE: "19000101-99991231"}, ["AT-11", "AT-12", "LATER"]),
        ({DATE: "20260302", TIME: "1100"}, ["AT-11"]),
        ({DATE: "20260302-20260303", TIME: "113000-08"}, ["AT-12", "LATER"]),
        ({DATE: "20260302-20260303", TIME: "1130-0730"}, ["AT-12"]),
    ],
)
def test_steps_match_by_modality_and_start(port: int, placed, step, found: list[str]) -> None:
    placed("AT-11", scheduled_at=NOON - dt.timedelta(hours=1))
    placed("AT-12", scheduled_at=NOON)
    placed("LATER", scheduled_at=NOON + dt.timedelta(hours=20))
    assert numbers(port, query(step)) == found


def test_a_station_and_a_modality_are_told_as_they_were_asked_for(port: int, placed) -> None:
    placed()
    ((item,), _) = ask(port, query({"Modality": "GM", "ScheduledStationAETitle": "SCOPE9"}))
    (step,) = item.ScheduledProcedureStepSequence
    assert (step.Modality, step.ScheduledStationAETitle) == ("GM", "SCOPE9")


def test_days_are_those_of_the_zone_of_the_query(port: int, placed) -> None:
    placed(scheduled_at=dt.datetime(2026, 3, 2, 22, tzinfo=dt.UTC))
    wanted = query({DATE: "20260303"})
    assert numbers(port, wanted) == []
    wanted.TimezoneOffsetFromUTC = "+0700"
    ((item,), _) = ask(port, wanted)
    (step,) = item.ScheduledProcedureStepSequence
    assert step.ScheduledProcedureStepStartDate == "20260303"
    assert (step.ScheduledProcedureStepStartTime, item.TimezoneOffsetFromUTC) == ("050000", "+0700")


def test_what_is_not_ascii_is_told_in_utf_8(port: int, placed) -> None:
    placed("ÄÖ-1")
    placed("A-2")
    found = {each.AccessionNumber: each for each in ask(port, query())[0]}
    assert found["ÄÖ-1"].SpecificCharacterSet == "ISO_IR 192"
    assert "SpecificCharacterSet" not in found["A-2"]


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


def test_a_query_is_taken_back(port: int, placed) -> None:
    for at in range(30):
        placed(f"A-{at}")
    association = associate(port)
    answers = association.send_c_find(query(), ModalityWorklistInformationFind, msg_id=7)
    statuses = [next(answers)[0].Status]
    association.send_c_cancel(7, query_model=ModalityWorklistInformationFind)
    statuses += [status.Status for status, _ in answers]
    association.release()
    assert statuses[-1] in (0xFE00, 0), "it may have been over before"
    assert len(statuses) <= 31


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


@pytest.mark.skipif(shutil.which("findscu") is None, reason="dcmtk is not installed")
def test_dcmtk_finds_the_order_of_a_patient(port: int, placed) -> None:
    placed(patient_ref=PATIENT)
    placed("ACC-2")
    keys = ["AccessionNumber", f"PatientID={PATIENT}", "ScheduledProcedureStepSequence[0].Modality"]
    command = ["findscu", "-v", "-W", "-aet", CALLER, "-aec", CALLED]
    for key in keys:
        command += ["-k", key]
    done = subprocess.run(
        [*command, "127.0.0.1", str(port)], check=True, timeout=60, capture_output=True, text=True
    )
    told = done.stdout + done.stderr
    assert re.findall(r"\(0008,0050\) SH \[(.*?) *\]", told) == ["ACC-1"]
    assert re.findall(r"\(0008,0060\) CS \[(.*?) *\]", told) == ["SM"]
