"""Orders as items of a modality's worklist (DICOM PS3.4 annex K).

A query is a data set with the attributes that are wanted; a value in it is what must match. What
stands here is made of nothing but an order: of the patient there is the pseudonym, which is told
as name and as number, since a modality shows no patient without a name.
"""

from __future__ import annotations

import datetime as dt
import re
import uuid
from dataclasses import dataclass

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from shared.errors import BadRequestError
from shared.gateway_settings import AE_TITLE
from shared.interop.codes import TRIAGE
from shared.interop.dicom.texts import LONGEST_LO, LONGEST_SH, fitting
from shared.jobs.states import Priority
from shared.orders.awaiting import AwaitedFilter
from shared.orders.entities import Order

_MODALITIES = ("SM", "GM")
"""Slide and General Microscopy (PS3.3, section C.7.3.1.1.1): a smear may come as either."""
# (0040,1003), PS3.3 table C.4-11.
_PRIORITIES = {Priority.STAT: "STAT", Priority.URGENT: "HIGH", Priority.ROUTINE: "ROUTINE"}
_DATE = re.compile(r"\d{8}", re.ASCII)
_TIME = re.compile(r"([01]\d|2[0-3])(?:([0-5]\d)([0-5]\d|60)?)?(?:\.\d{1,6})?", re.ASCII)
# What fits SH in one value. A number that is cut could be another order's.
_FITTING_NUMBER = rf"^[^\\]{{1,{LONGEST_SH}}}$"
_LAST_DAY = "22000101"
_ZONE = re.compile(r"[+-]\d{4}", re.ASCII)
_NOT_RETURNED = frozenset({0x00080005, 0x00080201})
"""Character set and zone: of the query, and of an answer its own."""


@dataclass(frozen=True)
class WorklistQuery:
    """A query that was read.

    Attributes:
        wanted: The data set.
        criteria: Which orders match; None: no order does.
        modality: As what they are answered.
        station: The title of who is to do it.
        zone: Of dates and times, in the query and in answers.
    """

    wanted: Dataset
    criteria: AwaitedFilter | None
    modality: str
    station: str
    zone: dt.tzinfo


def read_query(wanted: Dataset, caller: str) -> WorklistQuery:
    """Read a query.

    Matched are AccessionNumber, RequestedProcedureID and ScheduledProcedureStepID (all three are
    the accession number here), PatientID and PatientName (both are the pseudonym), and of the
    scheduled step its modality and its start. Any station may do any of them.

    Args:
        wanted: The identifier of the request.
        caller: The AE title of who asks.

    Raises:
        BadRequestError: A date, a time or a zone is none, or a value is no text.
    """
    steps = wanted.get("ScheduledProcedureStepSequence") or [Dataset()]
    step = steps[0]
    zone = _zone(_key(wanted, "TimezoneOffsetFromUTC"))
    modality = _key(step, "Modality") or _MODALITIES[0]
    numbers = [_key(wanted, "AccessionNumber"), _key(wanted, "RequestedProcedureID")]
    numbers.append(_key(step, "ScheduledProcedureStepID"))
    patients = {_key(wanted, "PatientID"), _key(wanted, "PatientName")} - {None}
    starts_from, starts_before = _period(step, zone)
    criteria = AwaitedFilter(
        accession_numbers=tuple(filter(None, numbers)),
        patient_ref=next(iter(patients), None),
        starts_from=starts_from,
        starts_before=starts_before,
        number_pattern=_FITTING_NUMBER,
    )
    is_nobodys = len(patients) > 1 or _key(step, "ScheduledPerformingPhysicianName") is not None
    return WorklistQuery(
        wanted=wanted,
        criteria=None if is_nobodys or modality not in _MODALITIES else criteria,
        modality=modality,
        # Who asks for the steps of a station is answered that they are that station's.
        station=_title(step) or caller,
        zone=zone,
    )


def item_of(order: Order, query: WorklistQuery) -> tuple[Dataset, bool]:
    """What a query wants to know of an order.

    Returns:
        The item, in which what is not known is empty, and whether all that was asked for is
        something that items here have (statuses FF00 and FF01, PS3.4 table K.4-2).
    """
    everything = _everything(order, query)
    item, is_whole = _of_these(everything, query.wanted)
    item.TimezoneOffsetFromUTC = dt.datetime.now(query.zone).strftime("%z")
    if any(not str(element.value).isascii() for element in item.iterall()):
        item.SpecificCharacterSet = "ISO_IR 192"
    return item, is_whole


def _everything(order: Order, query: WorklistQuery) -> Dataset:
    starts_at = (order.scheduled_at or order.created_at).astimezone(query.zone)
    item, step = Dataset(), Dataset()
    item.AccessionNumber = order.accession_number
    item.PatientName = item.PatientID = fitting(order.patient_ref, LONGEST_LO)
    item.StudyInstanceUID = order.study_uid or _derived_uid(order, "study")
    item.RequestedProcedureID = order.accession_number
    item.RequestedProcedureDescription = TRIAGE.display
    item.RequestedProcedureCodeSequence = _procedure(order)
    item.RequestedProcedurePriority = _PRIORITIES[order.priority]
    item.PlacerOrderNumberImagingServiceRequest = fitting(order.placer_number, LONGEST_LO)
    item.FillerOrderNumberImagingServiceRequest = fitting(order.filler_number, LONGEST_LO)
    item.ScheduledSpecimenSequence = _specimens(order)
    step.Modality = query.modality
    step.ScheduledStationAETitle = query.station
    step.ScheduledProcedureStepStartDate = f"{starts_at:%Y%m%d}"
    step.ScheduledProcedureStepStartTime = f"{starts_at:%H%M%S}"
    step.ScheduledPerformingPhysicianName = ""
    step.ScheduledProcedureStepDescription = TRIAGE.display
    step.ScheduledProcedureStepID = order.accession_number
    step.ScheduledProcedureStepStatus = "SCHEDULED"
    item.ScheduledProcedureStepSequence = [step]
    return item


def _procedure(order: Order) -> list[Dataset]:
    """The ordered code; without its system, or where DICOM has no room for it, there is none."""
    code = fitting(order.procedure_code, LONGEST_SH)
    system = fitting(order.procedure_system, LONGEST_SH)
    if not code or not system:
        return []
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, system, code
    return [item]


def _specimens(order: Order) -> list[Dataset]:
    specimen_id = fitting(order.specimen_id, LONGEST_LO)
    if not specimen_id:
        return []
    container, specimen = Dataset(), Dataset()
    specimen.SpecimenIdentifier = specimen_id
    specimen.SpecimenUID = _derived_uid(order, "specimen")
    container.ContainerIdentifier = specimen_id
    container.SpecimenDescriptionSequence = [specimen]
    return [container]


def _of_these(everything: Dataset, wanted: Dataset) -> tuple[Dataset, bool]:
    """The part of a data set that another one names, and whether it had all of it."""
    found, is_whole = Dataset(), True
    for key in wanted:
        if key.tag in _NOT_RETURNED or key.tag.is_private or key.tag.element == 0:
            continue
        if key.tag not in everything:
            found.add_new(key.tag, key.VR, [] if key.VR == "SQ" else None)
            is_whole = False
        elif key.VR == everything[key.tag].VR == "SQ" and key.value and len(key.value[0]):
            parts = [_of_these(item, key.value[0]) for item in everything[key.tag].value]
            found.add_new(key.tag, "SQ", [part for part, _ in parts])
            is_whole = is_whole and all(whole for _, whole in parts)
        else:  # an empty sequence asks for all of it (PS3.4, section C.2.2.2.6)
            found.add(_same(everything[key.tag]))
    return found, is_whole


def _same(element: DataElement) -> DataElement:
    return DataElement(element.tag, element.VR, element.value)


def _key(wanted: Dataset, keyword: str) -> str | None:
    """What an attribute must match; None: anything does (PS3.4, section C.2.2.2.3)."""
    text = str(wanted.get(keyword) or "").strip(" \0")
    if not text.isprintable():
        raise BadRequestError(f"{keyword} must be a text without control characters.")
    return None if text.strip("*") == "" else text


def _title(step: Dataset) -> str | None:
    title = _key(step, "ScheduledStationAETitle")
    return title if title and re.fullmatch(AE_TITLE, title) else None


def _zone(text: str | None) -> dt.tzinfo:
    if text is None:
        return dt.UTC
    try:
        if not _ZONE.fullmatch(text):
            raise ValueError
        return dt.datetime.strptime(text, "%z").tzinfo or dt.UTC
    except ValueError:
        raise BadRequestError("TimezoneOffsetFromUTC.") from None


def _period(step: Dataset, zone: dt.tzinfo) -> tuple[dt.datetime | None, dt.datetime | None]:
    """From when to when a step may start: date and time are matched together (table K.6-1)."""
    dates = _key(step, "ScheduledProcedureStepStartDate")
    times = _key(step, "ScheduledProcedureStepStartTime")
    if dates is None:
        if times is not None:
            raise BadRequestError("A time without a date.")
        return None, None
    first_day, last_day = _bounds(dates)
    first_time, last_time = _bounds(times or "-")
    starts_from, starts_before = None, None
    if first_day:
        starts_from = _day(first_day, zone) + (
            _span(first_time)[0] if first_time else dt.timedelta()
        )
    if last_day:
        rest = _span(last_time)[1] if last_time else dt.timedelta(days=1)
        starts_before = _day(last_day, zone) + rest
    return starts_from, starts_before


def _bounds(text: str) -> tuple[str, str]:
    """Both ends of a range (PS3.4, section C.2.2.2.5); one value is both."""
    first, dash, last = (part.strip() for part in text.partition("-"))
    return (first, last) if dash else (first, first)


def _day(text: str, zone: dt.tzinfo) -> dt.datetime:
    try:
        if not _DATE.fullmatch(text):
            raise ValueError
        # For "any day" some say the last one of all, after which there is none.
        return dt.datetime.strptime(min(text, _LAST_DAY), "%Y%m%d").replace(tzinfo=zone)
    except ValueError:
        raise BadRequestError("ScheduledProcedureStepStartDate.") from None


def _span(text: str) -> tuple[dt.timedelta, dt.timedelta]:
    """Where a time of the precision that it has begins and ends."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise BadRequestError("ScheduledProcedureStepStartTime.")
    hours, minutes, seconds = found.groups()
    begins = dt.timedelta(hours=int(hours), minutes=int(minutes or 0), seconds=int(seconds or 0))
    unit = "seconds" if seconds else "minutes" if minutes else "hours"
    return begins, begins + dt.timedelta(**{unit: 1})


def _derived_uid(order: Order, part: str) -> str:
    """The same UID whenever it is asked for: version 5 of a UUID, under 2.25 (PS3.5, B.2)."""
    return f"2.25.{uuid.uuid5(order.id, part).int}"
