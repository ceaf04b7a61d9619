"""A modality asks the gateway for its worklist, and is told which orders await images."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from pydantic import SecretStr
from sqlalchemy import select

from shared.auth.tenants import DEFAULT_TENANT
from shared.db.models import JobRow
from shared.interop.dicom.deidentify import pseudonym
from shared.jobs.cancel import cancel
from shared.jobs.states import Priority
from shared.orders.claim import claim
from shared.orders.place import cancel_order
from tests import dicom
from tests.integration.jobs import finish, post, take
from tests.integration.worklist.queries import (
    CALLED,
    CALLER,
    NOON,
    PATIENT,
    ask,
    associate,
    numbers,
    query,
)


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
    cancel_order(sessions, placed("CANCELLED").id, key_id=reader_id, tenant=DEFAULT_TENANT)
    claim(sessions, placed("CLAIMED").id, "1.2.3", key_id=reader_id, tenant=DEFAULT_TENANT)
    placed("A-NUMBER-THAT-DICOM-CUTS")
    placed("TWO\\VALUES")
    for number in ("ACC-1", "QUEUED", "TAKEN-BACK", "DONE"):
        placed(number)
    jobs = {
        number: post(sessions, storage, reader_id, accession_number=number).job
        for number in ("QUEUED", "TAKEN-BACK", "DONE")
    }
    cancel(sessions, jobs["TAKEN-BACK"].id, actor="test", tenant=DEFAULT_TENANT)
    assert finish(sessions, take(sessions, jobs["DONE"]))
    assert numbers(port, query()) == ["ACC-1", "QUEUED", "TAKEN-BACK"]


def test_a_station_and_a_modality_are_told_as_they_were_asked_for(port: int, placed) -> None:
    placed()
    ((item,), _) = ask(port, query({"Modality": "GM", "ScheduledStationAETitle": "SCOPE9"}))
    (step,) = item.ScheduledProcedureStepSequence
    assert (step.Modality, step.ScheduledStationAETitle) == ("GM", "SCOPE9")


def test_what_is_not_ascii_is_told_in_utf_8(port: int, placed) -> None:
    placed("ÄÖ-1")
    placed("A-2")
    found = {each.AccessionNumber: each for each in ask(port, query())[0]}
    assert found["ÄÖ-1"].SpecificCharacterSet == "ISO_IR 192"
    assert "SpecificCharacterSet" not in found["A-2"]


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
