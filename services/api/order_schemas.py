"""The vocabulary of `/v1/orders`, as it stands in the OpenAPI document."""

from __future__ import annotations

import datetime as dt
from dataclasses import fields
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from services.api.fields import Moment, Query
from services.api.schemas import Reference
from shared.db.cursors import CURSOR
from shared.jobs.states import Priority, Status
from shared.orders.entities import NewOrder, Order, Uid
from shared.orders.states import OrderState


def _as_text(value: object) -> object:
    """Refuse a number of JSON: pydantic would take it for seconds since 1970."""
    if not isinstance(value, str):
        raise ValueError("expected a text")
    return value


WrittenMoment = Annotated[Moment, BeforeValidator(_as_text)]
"""A time in a body, which has to have a zone; in UTC."""


class OrderIn(BaseModel):
    """What is ordered."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    accession_number: Reference = Field(
        description="Names the order: posted again with it, the order says something else."
    )
    priority: Priority = Field(
        Priority.ROUTINE, description="Of a job of this order that names none."
    )
    specimen_id: Reference | None = None
    patient_ref: Reference | None = Field(
        None, description="A pseudonym; never a name or a hospital number."
    )
    study_uid: Uid | None = Field(None, description="Study Instance UID of the images to come.")
    procedure_code: Reference | None = Field(
        None, description="What was ordered, as the placer codes it."
    )
    procedure_system: Reference | None = Field(
        None, description="The code system of it, as the placer names it."
    )
    placer: Reference | None = Field(
        None, description="Who ordered: `APPLICATION|FACILITY`, or the application alone."
    )
    placer_number: Reference | None = Field(None, description="The order's number there.")
    filler_number: Reference | None = Field(None, description="Its number in the laboratory.")
    scheduled_at: WrittenMoment | None = Field(
        None, description="When images are expected, with a time zone."
    )

    def order(self) -> NewOrder:
        """The order as its domain has it."""
        return NewOrder(**{field.name: getattr(self, field.name) for field in fields(NewOrder)})


class OrderLinks(BaseModel):
    """Where an order and its newest job are."""

    self: str
    job: str | None


class OrderOut(BaseModel):
    """An order as it stands."""

    id: str
    state: OrderState
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
    performer: str | None = Field(description="Id of the key that has claimed it elsewhere.")
    created_at: dt.datetime
    updated_at: dt.datetime
    job_id: str | None = Field(description="The newest job with this accession number.")
    job_status: Status | None
    links: OrderLinks


class OrderListOut(BaseModel):
    """A page of orders, newest first."""

    orders: list[OrderOut]
    next_cursor: str | None = Field(description="Pass it as `cursor` for the next page.")


class OrderListQuery(Query):
    """Filters and the page of a list of orders."""

    state: OrderState | None = None
    accession_number: Reference | None = None
    patient_ref: Reference | None = None
    specimen_id: Reference | None = None
    priority: Priority | None = None
    scheduled_from: Moment | None = Field(None, description="Inclusive, with a time zone.")
    scheduled_to: Moment | None = Field(None, description="Exclusive, with a time zone.")
    cursor: str | None = Field(None, pattern=CURSOR, description="`next_cursor` of a page.")
    limit: int = Field(50, ge=1, le=200)


def order_out(order: Order) -> OrderOut:
    """The order as clients see it."""
    job_id = None if order.job_id is None else str(order.job_id)
    made = {
        "id": str(order.id),
        "job_id": job_id,
        "links": OrderLinks(
            self=f"/v1/orders/{order.id}", job=None if job_id is None else f"/v1/jobs/{job_id}"
        ),
    }
    own = OrderOut.model_fields.keys() - made
    return OrderOut(**{name: getattr(order, name) for name in own}, **made)
