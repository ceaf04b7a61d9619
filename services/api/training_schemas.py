"""The API's words for training runs; what is asked for is `shared.trainings.request`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, Field

from services.api.fields import Query
from services.api.schemas import JobError
from shared.trainings.states import EventKind, TrainingEvent, TrainingRun, TrainingStatus


class TrainingLinks(BaseModel):
    """Where a run's parts are."""

    self: str
    logs: str
    events: str


class TrainingSummary(BaseModel):
    """A run in a list."""

    id: str
    name: str | None
    status: TrainingStatus
    architecture: str
    dataset_id: str
    protocol: str
    recipe: str
    seeds: list[int]
    overrides: dict[str, Any]
    base: str | None
    progress: float = Field(ge=0, le=1)
    seconds_left: float | None = Field(
        description="By the epochs of this attempt; null while nothing is trained."
    )
    device: str | None = Field(description="`cpu`, or the name of a GPU.")
    attempts: int
    registered: str | None = Field(
        description="The model version that it made, `NAME@VERSION`; null until it has succeeded."
    )
    error: JobError | None
    requested_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    links: TrainingLinks


class TrainingOut(TrainingSummary):
    """A run as it stands."""

    epochs: list[dict[str, Any]] = Field(description="The figures of each finished epoch.")
    record: dict[str, Any] | None = Field(
        description="Split, plans, histories and measures; null until it has succeeded."
    )
    registration_error: JobError | None = Field(
        description="Why a run that has succeeded made no version."
    )


class TrainingListOut(BaseModel):
    """Runs, newest first."""

    trainings: list[TrainingSummary]


class TrainingListQuery(Query):
    """Which runs to list."""

    status: TrainingStatus | None = None
    limit: int = Field(50, ge=1, le=200)


class LogQuery(Query):
    """Which lines of a log to read."""

    after: int = Field(0, ge=0, description="The `next` of the call before.")
    limit: int = Field(500, ge=1, le=1000)


class LogLine(BaseModel):
    """A line of a run's log."""

    number: int
    at: dt.datetime
    text: str


class LogOut(BaseModel):
    """Lines of a run's log, in order."""

    lines: list[LogLine]
    next: int = Field(description="Pass it as `after` for what comes next.")
    status: TrainingStatus


class EventsQuery(Query):
    """From where on to listen."""

    after: int = Field(
        0, ge=0, description="Number of the last event that is known; `Last-Event-ID` goes first."
    )


def training_summary(run: TrainingRun) -> TrainingSummary:
    """A run as a list has it."""
    return TrainingSummary(**_values(run))


def training_out(run: TrainingRun, epochs: Sequence[TrainingEvent]) -> TrainingOut:
    """A run with the figures of its epochs, in the order in which they were trained."""
    refusal = (run.record or {}).get("registration_error")
    return TrainingOut(
        **_values(run),
        epochs=[event.document for event in epochs],
        record=run.record,
        registration_error=None if refusal is None else JobError(**refusal),
    )


def log_out(run: TrainingRun, lines: Sequence[TrainingEvent], after: int) -> LogOut:
    """Lines of a log as they were told."""
    return LogOut(
        lines=[
            LogLine(number=line.number, at=line.at, text=line.document["text"]) for line in lines
        ],
        next=lines[-1].number if lines else after,
        status=run.status,
    )


def event_text(event: TrainingEvent) -> str:
    """An event as a server-sent one."""
    at = event.at.isoformat()
    data = TrainingEventData(kind=event.kind, at=at, **event.document).model_dump_json()
    return f"id: {event.number}\nevent: {event.kind}\ndata: {data}\n\n"


class TrainingEventData(BaseModel, extra="allow"):
    """The data of an event: what was told, with its kind and its time."""

    kind: EventKind
    at: str


def _values(run: TrainingRun) -> dict[str, Any]:
    base = f"/v1/trainings/{run.id}"
    error = None
    if run.error_code is not None:
        error = JobError(code=run.error_code, detail=run.error_detail)
    made = {"error", "links", "id", "dataset_id", "seeds", "registered"}
    own = TrainingSummary.model_fields.keys() - made
    return {
        **{name: getattr(run, name) for name in own},
        "id": str(run.id),
        "dataset_id": str(run.dataset_id),
        "seeds": list(run.seeds),
        "registered": (run.record or {}).get("registered"),
        "error": error,
        "links": TrainingLinks(self=base, logs=f"{base}/logs", events=f"{base}/events"),
    }
