"""What a worklist is made of: an order with its job, or a job, as one workitem."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from enum import StrEnum

from shared.jobs.entities import Job
from shared.jobs.states import Priority, Status
from shared.orders.entities import Order
from shared.orders.states import OrderState


class WorkitemState(StrEnum):
    """Where a workitem stands (PS3.4, table CC.1.1-1)."""

    SCHEDULED = "SCHEDULED"
    IN_PROGRESS = "IN PROGRESS"
    COMPLETED = "COMPLETED"
    CANCELED = "CANCELED"

    @property
    def is_final(self) -> bool:
        """Whether nothing more happens to the workitem."""
        return self in (WorkitemState.COMPLETED, WorkitemState.CANCELED)


OF_JOBS = {
    Status.QUEUED: WorkitemState.SCHEDULED,
    Status.RUNNING: WorkitemState.IN_PROGRESS,
    Status.SUCCEEDED: WorkitemState.COMPLETED,
    Status.FAILED: WorkitemState.CANCELED,
    Status.CANCELLED: WorkitemState.CANCELED,
    Status.DEAD: WorkitemState.CANCELED,
}
OF_ORDERS = {
    OrderState.EXPECTED: WorkitemState.SCHEDULED,
    OrderState.CLAIMED: WorkitemState.IN_PROGRESS,
    OrderState.COMPLETED: WorkitemState.COMPLETED,
    OrderState.CANCELLED: WorkitemState.CANCELED,
}


@dataclass(frozen=True)
class Input:
    """A DICOM instance that images of a job came from."""

    study_uid: str
    series_uid: str
    instance_uid: str
    sop_class_uid: str


@dataclass(frozen=True)
class Workitem:
    """An order, or a job by itself.

    Attributes:
        about: The order; the job where there is no order.
        job: The job; of an order the one that it follows, if any.
        inputs: Where the job's images came from, as far as they were DICOM.
    """

    about: Order | Job
    job: Job | None
    inputs: tuple[Input, ...] = ()

    @property
    def order(self) -> Order | None:
        """The order, where there is one."""
        return self.about if isinstance(self.about, Order) else None

    @property
    def state(self) -> WorkitemState:
        """Where it stands."""
        leading = self.job or self.about
        if isinstance(leading, Order):
            return OF_ORDERS[leading.state]
        return OF_JOBS[leading.status]


@dataclass(frozen=True)
class WorkitemFilter:
    """Which workitems to list; None means any. Times from inclusive, to exclusive.

    Attributes:
        ids: Of orders or jobs.
        accession_number: In it `*` stands for any characters and `?` for one (PS3.4, C.2.2.2.4).
        patient_refs: Any of these pseudonyms.
        scheduled_from: Of the scheduled start; of what has none, of when it was placed or posted.
    """

    ids: tuple[uuid.UUID, ...] | None = None
    state: WorkitemState | None = None
    priority: Priority | None = None
    accession_number: str | None = None
    patient_refs: tuple[str, ...] | None = None
    scheduled_from: dt.datetime | None = None
    scheduled_to: dt.datetime | None = None


@dataclass(frozen=True)
class WorkitemPage:
    """Workitems, newest first, and how many more there are behind them."""

    workitems: tuple[Workitem, ...]
    remaining: int
