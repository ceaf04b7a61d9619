"""What an order gives to a job that names its accession number."""

from __future__ import annotations

from dataclasses import replace

from shared.db.session import Sessions
from shared.jobs.entities import JobRequest
from shared.jobs.states import Priority
from shared.orders.entities import Order
from shared.orders.queries import find_order


def order_of(sessions: Sessions, accession_number: str | None, *, tenant: str) -> Order | None:
    """The order of its tenant that a job is about, whatever its state.

    Without an accession number the database is not asked.
    """
    if accession_number is None:
        return None
    return find_order(sessions, accession_number, tenant=tenant)


def priority_of(said: Priority | None, order: Order | None) -> Priority:
    """The priority of a job: what its client said, else that of its order, else routine."""
    return said or (order.priority if order else Priority.ROUTINE)


def filled(request: JobRequest, order: Order | None) -> JobRequest:
    """A request with specimen and patient of its order, where neither client nor images say them.

    The fingerprint stays that of what was sent, so that a repetition is known whatever has become
    of the order.
    """
    if order is None:
        return request
    return replace(
        request,
        specimen_id=request.specimen_id or order.specimen_id,
        patient_ref=request.patient_ref or order.patient_ref,
    )
