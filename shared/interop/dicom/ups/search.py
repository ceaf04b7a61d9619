"""Reads a search for workitems (PS3.18, sections 8.3.4 and 11.9)."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace

from pydicom.datadict import keyword_for_tag, tag_for_keyword

from shared.errors import BadRequestError, NotFoundError
from shared.interop.dicom.deidentify import pseudonym
from shared.interop.dicom.ups.names import PRIORITY_OF, workitem_id
from shared.interop.dicom.ups.times import span
from shared.jobs.states import Priority
from shared.orders.workitem_entities import WorkitemFilter, WorkitemState
from shared.settings import Settings

MAX_RESULTS = 200
"""As many as one answer has (PS3.18, section 8.3.4.4: maxResults)."""

MATCHED = (
    *("SOPInstanceUID", "ProcedureStepState", "ScheduledProcedureStepPriority"),
    *("ScheduledProcedureStepStartDateTime", "PatientID", "IssuerOfPatientID"),
    "ReferencedRequestSequence.AccessionNumber",
)
"""The attributes that a search may give values of; of any other it may only ask for the value."""

_UNSUPPORTED = {
    "fuzzymatching": "The fuzzymatching parameter is not supported. "
    "Only literal matching has been performed.",
    "emptyvaluematching": "The emptyvaluematching parameter is not supported. "
    "Empty Value Matching has not been performed.",
    "multiplevaluematching": "The multiplevaluematching parameter is not supported. "
    "Multiple Value Matching has not been performed.",
}
_NEGOTIATED = {"accept", "charset"}
_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_COUNT = re.compile(r"[0-9]{1,9}")
_UNIVERSAL = ("", "*")  # PS3.4, sections C.2.2.2.3 and C.2.2.2.4


@dataclass(frozen=True)
class WorkitemSearch:
    """A search; `warnings` are what its answer must say of parameters that are not supported."""

    criteria: WorkitemFilter
    limit: int
    offset: int
    warnings: tuple[str, ...]


def read_search(parameters: Iterable[tuple[str, str]], settings: Settings) -> WorkitemSearch:
    """Read the query of a search.

    Args:
        parameters: Names and values; attributes by keyword or tag, within sequences with dots.
        settings: The secret by which a PatientID becomes the pseudonym that it is kept under.

    Raises:
        BadRequestError: A parameter is unknown, given twice or malformed, or an attribute cannot
            be matched: a search that left a condition out would find other patients' workitems.
    """
    values: dict[str, str] = {}
    counts = {"limit": MAX_RESULTS, "offset": 0}
    warnings = []
    for name, value in parameters:
        if name in counts:
            counts[name] = _count(name, value)
        elif name in _UNSUPPORTED:
            if _boolean(name, value):
                warnings.append(_UNSUPPORTED[name])
        elif name == "includefield":
            for attribute in filter(None, value.split(",")):
                if attribute != "all":
                    _keyword(attribute)
        elif name not in _NEGOTIATED:
            keyword = _keyword(name)
            if keyword in values or not value.isprintable():
                raise BadRequestError(f"{keyword} needs one value without control characters.")
            values[keyword] = value
    criteria = _criteria(values, settings)
    limit = min(counts["limit"], MAX_RESULTS)
    return WorkitemSearch(criteria, limit, counts["offset"], tuple(warnings))


def _criteria(values: dict[str, str], settings: Settings) -> WorkitemFilter:
    criteria = WorkitemFilter()
    issuer = values.get("IssuerOfPatientID", "")
    for keyword, value in values.items():
        if value in _UNIVERSAL:
            continue
        match keyword:
            case "SOPInstanceUID":
                criteria = replace(criteria, ids=_ids(value))
            case "ProcedureStepState":
                criteria = replace(criteria, state=_state(value))
            case "ScheduledProcedureStepPriority":
                criteria = replace(criteria, priority=_priority(value))
            case "ScheduledProcedureStepStartDateTime":
                first, last = span(value)
                criteria = replace(criteria, scheduled_from=first, scheduled_to=last)
            case "PatientID":
                named = pseudonym(settings.pseudonym_secret, value, issuer)
                refs = (value,) if named is None else (value, named)
                criteria = replace(criteria, patient_refs=refs)
            case "ReferencedRequestSequence.AccessionNumber":
                criteria = replace(criteria, accession_number=value)
            case "IssuerOfPatientID":
                continue
            case _:
                raise BadRequestError(f"{keyword} cannot be matched; {', '.join(MATCHED)} can.")
    return criteria


def _keyword(name: str) -> str:
    """A path of tags or keywords as one of keywords."""
    return ".".join(_one_keyword(part) for part in name.split("."))


def _one_keyword(name: str) -> str:
    known = keyword_for_tag(int(name, 16)) if _TAG.fullmatch(name) else name
    if not known or tag_for_keyword(known) is None:
        raise BadRequestError("A parameter is neither one of a search nor an attribute of DICOM.")
    return known


def _ids(value: str) -> tuple[uuid.UUID, ...]:
    """List of UID Matching (PS3.4, section C.2.2.2.2); what is no workitem's UID finds nothing."""
    found = []
    for uid in value.replace("\\", ",").split(","):
        try:
            found.append(workitem_id(uid))
        except NotFoundError:
            continue
    return tuple(found)


def _state(value: str) -> WorkitemState:
    try:
        return WorkitemState(value)
    except ValueError:
        raise BadRequestError(f"Expected a state of {', '.join(WorkitemState)}.") from None


def _priority(value: str) -> Priority:
    if value not in PRIORITY_OF:
        raise BadRequestError(f"Expected a priority of {', '.join(PRIORITY_OF)}.")
    return PRIORITY_OF[value]


def _count(name: str, value: str) -> int:
    if not _COUNT.fullmatch(value):
        raise BadRequestError(f"Expected a number as {name}.")
    return int(value)


def _boolean(name: str, value: str) -> bool:
    if value not in ("true", "false"):
        raise BadRequestError(f"Expected true or false as {name}.")
    return value == "true"
