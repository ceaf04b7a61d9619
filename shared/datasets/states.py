"""Where a data set stands: what the queue of imports takes and gives, free of any session.

queued ──► running ──► ready      never changes again, but may be withdrawn
   ▲          │ └────► failed     it cannot succeed, or was tried too often
   └──────────┘                   an outage, an error, a trainer that stops
"""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from shared.errors import ConflictError


class DatasetStatus(StrEnum):
    """Where a data set stands."""

    QUEUED = "queued"  # asked for; waits for a trainer
    RUNNING = "running"  # imported by one trainer, under a lease
    READY = "ready"  # a version, whose images are in the object store
    FAILED = "failed"  # no attempt follows; its error says why

    @property
    def is_final(self) -> bool:
        """Whether nothing more happens to it."""
        return self in (DatasetStatus.READY, DatasetStatus.FAILED)


class DatasetSource(StrEnum):
    """Where a data set's images come from."""

    UPLOAD = "upload"  # a zip of class folders
    REVIEWS = "reviews"  # images of reviewed jobs, with those of a base


class DatasetNotReadyError(ConflictError):
    """The data set is no version yet, or its import failed."""

    code = "dataset_not_ready"


class DatasetLockedError(ConflictError):
    """The data set is a locked test set: nothing may be trained on it."""

    code = "dataset_locked"


class DatasetWithdrawnError(ConflictError):
    """An image of the data set was erased: it is withdrawn, and nothing uses it any more."""

    code = "dataset_withdrawn"


@dataclass(frozen=True)
class ImportFailure:
    """Why an import failed."""

    code: str
    detail: str | None


@dataclass(frozen=True)
class DatasetVersion:
    """A data set as it stood when it was read.

    `version` and what follows are None until it is ready. `same_as` is the data set that was the
    same version before this one. `faults`, `lineage` and `leaks` are None in lists too.
    """

    id: uuid.UUID
    name: str | None
    source: DatasetSource
    locked: bool
    status: DatasetStatus
    base_id: uuid.UUID | None
    reviews_since_id: uuid.UUID | None
    upload_sha256: str | None
    upload_bytes: int | None
    attempts: int
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    error: ImportFailure | None
    version: str | None = None
    same_as: uuid.UUID | None = None
    statistics: dict[str, Any] | None = None
    faults: list[dict[str, Any]] | None = None
    lineage: dict[str, Any] | None = None
    leaks: list[dict[str, Any]] | None = None
    withdrawn_at: dt.datetime | None = None

    @property
    def counts(self) -> dict[str, int] | None:
        """Images a class; None until it is ready."""
        return None if self.statistics is None else dict(self.statistics["counts"])


@dataclass(frozen=True)
class DatasetClaim:
    """A data set in a trainer's hands. Only its holder, on this attempt, can end it.

    `failures` counts the attempts before this one that crashed or raised. The reviews that count
    have ids above `reviews_after` and up to `reviews_until`, and are of jobs of the tenant.
    """

    id: uuid.UUID
    source: DatasetSource
    locked: bool
    tenant: str
    worker: str
    attempt: int
    failures: int
    base_id: uuid.UUID | None
    reviews_after: int
    reviews_until: int
    upload_sha256: str | None


@dataclass(frozen=True)
class Imported:
    """What an import found.

    Attributes:
        record: The version's content, as `services.trainer.importing` makes it.
        statistics: Counts, groups, sizes and media types.
        faults: What is wrong with single images, by content.
        lineage: How many files or reviews were taken, and why others were not.
        leaks: Data sets on the other side of a lock that show the same, with numbers of images.
        compared: The data sets that were looked at for leaks.
    """

    record: dict[str, Any]
    statistics: dict[str, Any]
    faults: list[dict[str, Any]]
    lineage: dict[str, Any]
    leaks: list[dict[str, Any]]
    compared: frozenset[uuid.UUID]
