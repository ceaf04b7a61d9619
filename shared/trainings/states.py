"""Where a training run stands: what the queue takes and gives, free of any session."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class TrainingStatus(StrEnum):
    """Where a run stands.

    queued ──► running ──► succeeded
     │  ▲       │  │ └───► failed      it cannot succeed, or was tried too often
     │  └───────┘  │                   an outage, an error, a trainer that stops
     └─────────────┴─────► cancelled
    """

    QUEUED = "queued"  # accepted; waits for a trainer
    RUNNING = "running"  # claimed by one trainer, under a lease
    SUCCEEDED = "succeeded"  # its record is there, and its weights in the trainer's work folder
    FAILED = "failed"  # no attempt follows; its error says why
    CANCELLED = "cancelled"  # taken back, before it was claimed or while it ran

    @property
    def is_final(self) -> bool:
        """Whether nothing more happens to it."""
        return self not in (TrainingStatus.QUEUED, TrainingStatus.RUNNING)


class EventKind(StrEnum):
    """What is told of a run."""

    EPOCH = "epoch"  # the figures of a finished epoch
    LOG = "log"  # a line of the trainer's
    STATUS = "status"  # the run stands elsewhere now, or begins another attempt


@dataclass(frozen=True)
class TrainingRun:
    """A run as it stood when it was read; progress is between 0 and 1."""

    id: uuid.UUID
    name: str | None
    architecture: str
    dataset_id: uuid.UUID
    protocol: str
    recipe: str
    seeds: tuple[int, ...]
    overrides: dict[str, Any]
    base: str | None
    status: TrainingStatus
    progress: float
    seconds_left: float | None
    device: str | None
    attempts: int
    failures: int
    last_event: int
    requested_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    error_code: str | None
    error_detail: str | None
    record: dict[str, Any] | None


@dataclass(frozen=True)
class TrainingEvent:
    """What was told of a run; numbers grow with time, from 1, and may have gaps."""

    number: int
    kind: EventKind
    document: dict[str, Any]
    at: dt.datetime


@dataclass(frozen=True)
class Told:
    """An event that is to be recorded; of several with the same key, the first counts."""

    kind: EventKind
    key: str
    document: dict[str, Any]


@dataclass(frozen=True)
class TrainingClaim:
    """A run in a trainer's hands. Only its holder, on this attempt, can end it.

    `failures` counts the attempts before this one that crashed or raised.
    """

    run_id: uuid.UUID
    worker: str
    attempt: int
    failures: int
