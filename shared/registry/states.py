"""What the registry takes and gives, free of any session."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from shared.errors import ConflictError, PermanentError, TransientError, UnknownModelError


class Alias(StrEnum):
    """A name that stands for a version, and for another one later."""

    CHAMPION = "champion"  # answers whoever names no version
    CHALLENGER = "challenger"  # looks at what the champion has answered, and may get a share of it
    PREVIOUS = "previous"  # was champion before; a rollback makes it champion again


class GateStatus(StrEnum):
    """Where a gate stands.

    queued ──► running ──► passed | refused
        ▲       │  └─────► failed      it cannot be judged, or was tried too often
        └───────┘                      an outage, an error, a trainer that stops
    """

    QUEUED = "queued"
    RUNNING = "running"
    PASSED = "passed"
    REFUSED = "refused"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        """Whether nothing more happens to it."""
        return self not in (GateStatus.QUEUED, GateStatus.RUNNING)


class VersionIncompleteError(PermanentError):
    """The version lacks what must travel with it."""

    code = "version_incomplete"


class GateNotPassedError(ConflictError):
    """The version has not passed its gate; a reason and a second admin's key may stand for that."""

    code = "gate_not_passed"


class AliasNotSetError(ConflictError):
    """Nothing has this alias."""

    code = "alias_not_set"


class NoLockedTestSetError(ConflictError):
    """There is no locked test set to judge a version on."""

    code = "no_locked_test_set"


class VersionUnreachableError(TransientError):
    """Where the model version is described cannot be asked."""

    code = "database_unavailable"


class VersionNotKeptError(TransientError):
    """There is no room for a model version on this machine."""

    code = "model_not_kept"


class RolledBackError(ConflictError):
    """Another version is champion than the one that was to go."""

    code = "not_champion"


class NoChampionError(UnknownModelError):
    """No version is champion yet."""

    code = "no_champion"


@dataclass(frozen=True)
class AliasTarget:
    """What an alias stands for, since when, and the canary's share of the champion's jobs."""

    name: str
    version: int
    since: dt.datetime
    canary_percent: int = 0

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


@dataclass(frozen=True)
class Override:
    """What stands for a passed gate: why, and whose second key agrees."""

    reason: str
    approver: str
    """Id of the second key."""


@dataclass(frozen=True)
class Gate:
    """A gate as it stood when it was read."""

    id: uuid.UUID
    name: str
    version: int
    champion: str | None
    dataset_id: uuid.UUID
    status: GateStatus
    attempts: int
    requested_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    error_code: str | None
    error_detail: str | None
    policy_sha256: str | None
    report: dict[str, Any] | None

    @property
    def candidate(self) -> str:
        """The version that is judged, NAME@VERSION."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True)
class GateClaim:
    """A gate in a trainer's hands. Only its holder, on this attempt, can end it."""

    id: uuid.UUID
    name: str
    version: int
    champion: str | None
    dataset_id: uuid.UUID
    worker: str
    attempt: int
    failures: int
