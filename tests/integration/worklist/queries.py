"""What a modality asks of a worklist, and what it is answered."""

from __future__ import annotations

import datetime as dt

from pydicom.dataset import Dataset
from pydicom.uid import VLMicroscopicImageStorage
from pynetdicom import AE
from pynetdicom.sop_class import ModalityWorklistInformationFind

CALLER, CALLED = "SCOPE1", "HEMOTRIAGE"
PATIENT = "pn-abcdefghijklmnopqrst"
NOON = dt.datetime(2026, 3, 2, 12, tzinfo=dt.UTC)
DATE, TIME = "ScheduledProcedureStepStartDate", "ScheduledProcedureStepStartTime"


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


def associate(port: int, *syntaxes: str):
    entity = AE(ae_title=CALLER)
    entity.add_requested_context(ModalityWorklistInformationFind, list(syntaxes) or None)
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
