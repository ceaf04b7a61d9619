"""What the order functions take and give: frozen, typed, free of any session."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)
from sqlalchemy import Row

from shared.clock import in_utc
from shared.jobs.reference import Reference
from shared.jobs.states import Priority, Status
from shared.orders.states import OrderFieldError, OrderState

Uid = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=64, pattern=r"^[0-9]+(\.[0-9]+)*$"),
]
"""A UID of DICOM (PS3.5 section 9.1): at most 64 characters, numbers between dots."""

ScheduledAt = Annotated[AwareDatetime, AfterValidator(in_utc)]
"""A moment with its zone, kept in UTC."""


@dataclass(frozen=True)
class NewOrder:
    """What is ordered. Texts have 1 to 128 characters and none of ASCII's control characters.

    Attributes:
        accession_number: What the images, the jobs and the results of the order are known by.
        priority: Of a job that names none of its own.
        specimen_id: The specimen.
        patient_ref: A pseudonym; never a name or a hospital number.
        study_uid: Study Instance UID that the images are to have.
        procedure_code: What was ordered, as its placer codes it.
        procedure_system: The code system of `procedure_code`, as its placer names it.
        placer: Who ordered: `APPLICATION|FACILITY`, or the application alone.
        placer_number: The number of the order at its placer.
        filler_number: Its number at who fills it: the laboratory.
        scheduled_at: When the images are expected; it has a zone.
    """

    accession_number: Reference
    priority: Priority = Priority.ROUTINE
    specimen_id: Reference | None = None
    patient_ref: Reference | None = None
    study_uid: Uid | None = None
    procedure_code: Reference | None = None
    procedure_system: Reference | None = None
    placer: Reference | None = None
    placer_number: Reference | None = None
    filler_number: Reference | None = None
    scheduled_at: ScheduledAt | None = None


_NEW_ORDER = TypeAdapter(NewOrder)
_UID = TypeAdapter(Uid)


@dataclass(frozen=True)
class Order:
    """An order as it stood when it was read.

    `job_id` and `job_status` are of the newest job with its accession number. `performer` is the
    key of another performer that has claimed it; the transaction UID of the claim is not told.
    """

    id: uuid.UUID
    state: OrderState
    api_key_id: str
    accession_number: str
    priority: Priority
    specimen_id: str | None
    patient_ref: str | None
    study_uid: str | None
    procedure_code: str | None
    procedure_system: str | None
    placer: str | None
    placer_number: str | None
    filler_number: str | None
    scheduled_at: dt.datetime | None
    performer: str | None
    created_at: dt.datetime
    updated_at: dt.datetime
    job_id: uuid.UUID | None
    job_status: Status | None


def checked(new: NewOrder) -> NewOrder:
    """An order whose fields are as `NewOrder` says, without space around them.

    Raises:
        OrderFieldError: One is not. It names the fields, never what is in them.
    """
    try:
        return _NEW_ORDER.validate_python(asdict(new))
    except ValidationError as error:
        names = sorted({str(fault["loc"][0]) for fault in error.errors(include_input=False)})
        raise OrderFieldError(", ".join(names)) from None


def checked_uid(text: str) -> str:
    """A UID of DICOM.

    Raises:
        OrderFieldError: It is none.
    """
    try:
        return _UID.validate_python(text)
    except ValidationError:
        raise OrderFieldError("It is no UID.") from None


def order_from_row(row: Row[Any]) -> Order:
    """Turn a row of `shared.orders.queries.whole_orders` into its entity."""
    columns = {field.name: getattr(row, field.name) for field in fields(Order)}
    return Order(
        **columns
        | {
            "state": OrderState(row.state),
            "priority": Priority(row.priority),
            "job_status": None if row.job_status is None else Status(row.job_status),
        }
    )
