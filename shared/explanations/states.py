"""Where an explanation stands: what the queue takes and gives, free of any session."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from shared.errors import ConflictError, PermanentError
from shared.explanations.method import Method
from shared.telemetry.about import UNKNOWN, Origin, ids_of
from shared.triage.labels import LABELS, Label

KEY = ("job_id", "image_index", "method")
"""The columns of the primary key."""

RETRIED_AFTER_SECONDS = 60
"""Age at which a failure is no answer any more: whoever asks then has it tried again."""


class ExplanationStatus(StrEnum):
    """Where an explanation stands."""

    QUEUED = "queued"  # requested; waits for an explainer
    RUNNING = "running"  # claimed by one explainer, under a lease
    SUCCEEDED = "succeeded"  # its picture is in the object store
    FAILED = "failed"  # no attempt follows unless it is asked for again; its error says why

    @property
    def is_final(self) -> bool:
        """Whether nothing more happens to it by itself."""
        return self in (ExplanationStatus.SUCCEEDED, ExplanationStatus.FAILED)


class ExplanationFailedError(ConflictError):
    """The explanation could not be made; ask again later to have it tried again."""

    code = "explanation_failed"
    retry_after_seconds = RETRIED_AFTER_SECONDS


class NoPredictionError(PermanentError):
    """The job's result names no class of this image."""

    code = "no_prediction"


@dataclass(frozen=True)
class Subject:
    """What is explained, and how: one field of a job, by one method."""

    job_id: uuid.UUID
    image_index: int
    method: Method

    def __str__(self) -> str:
        """As the database tells of its end (migration 0005)."""
        return f"{self.job_id}/{self.image_index}/{self.method}"

    @property
    def columns(self) -> dict[str, Any]:
        """Its key in the database."""
        return {name: getattr(self, name) for name in KEY}


@dataclass(frozen=True)
class ExplanationState:
    """An explanation as it stood when it was read; progress is between 0 and 1.

    `asked` is false while it is made unasked; `is_retriable` tells of a failure that is older than
    `RETRIED_AFTER_SECONDS`.
    """

    subject: Subject
    status: ExplanationStatus
    asked: bool
    is_retriable: bool
    has_image: bool
    progress: float
    requested_at: dt.datetime
    finished_at: dt.datetime | None
    error_code: str | None
    error_detail: str | None
    document: dict[str, Any] | None
    png_sha256: str | None


@dataclass(frozen=True)
class ExplanationClaim:
    """An explanation in an explainer's hands. Only its holder, on this attempt, can end it.

    `failures` counts the attempts before this one that crashed or raised; `prediction` is what the
    job's result says of the field, None where it says nothing.
    """

    subject: Subject
    worker: str
    attempt: int
    failures: int
    model_name: str
    model_version: int
    object_key: str
    image_sha256: str
    prediction: str | None
    origin: Origin = UNKNOWN

    @property
    def ids(self) -> dict[str, str | None]:
        """What a line of the log names it by."""
        return {"explanation": str(self.subject), **ids_of(self.subject.job_id, self.origin)}

    @property
    def label(self) -> Label:
        """The class that is to be explained.

        Raises:
            NoPredictionError: The result names none.
        """
        if self.prediction not in LABELS:
            raise NoPredictionError
        return Label(self.prediction)
