"""The retention policy: how long each kind of data is kept, as a file has it in writing."""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from shared.errors import PermanentError

_DAYS = re.compile(r"(0|[1-9][0-9]{0,4}) days?", re.ASCII)
_FOREVER = "forever"


class RetentionPolicyInvalidError(PermanentError):
    """The retention policy cannot be read; the operator must mend it."""

    code = "retention_policy_invalid"
    http_status = HTTPStatus.INTERNAL_SERVER_ERROR


class Kind(StrEnum):
    """What has a period of its own, in the order in which a purge looks at it."""

    WEBHOOKS = "webhooks"
    SHADOW_RESULTS = "shadow_results"
    REVIEW_COMMENTS = "review_comments"
    EXPLANATIONS = "explanations"
    IMAGES = "images"
    JOBS = "jobs"
    UNSUCCESSFUL_JOBS = "unsuccessful_jobs"
    ORDERS = "orders"
    FAILED_IMPORTS = "failed_imports"
    TRAINING_EVENTS = "training_events"
    MONITORING = "monitoring"
    ENDED_SESSIONS = "ended_sessions"
    KEYS = "keys"
    AUDIT = "audit"


def _as_period(value: object) -> object:
    if value == _FOREVER:
        return None
    found = _DAYS.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f'expected "{_FOREVER}" or "N days"')
    return dt.timedelta(days=int(found[1]))


class Rule(BaseModel):
    """How long one kind of data is kept; `keep` is None where that is for ever."""

    # A misspelt word must not be taken for one that is not there.
    model_config = ConfigDict(extra="forbid", frozen=True)

    keep: Annotated[dt.timedelta | None, BeforeValidator(_as_period)]
    reason: str = Field(min_length=1)

    def __str__(self) -> str:
        return _FOREVER if self.keep is None else f"{self.keep.days} days"


class RetentionPolicy(BaseModel):
    """The policy of one file: a rule for each kind, none left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str = Field(min_length=1)
    rules: dict[Kind, Rule]


def read_retention_policy(path: Path) -> RetentionPolicy:
    """Read a policy file.

    Args:
        path: A TOML file; `models/retention.toml` says what is in one.

    Raises:
        RetentionPolicyInvalidError: It is not there, is no TOML, lacks a kind, or has one too many.
    """
    try:
        document = tomllib.loads(path.read_bytes().decode())
        version = document.pop("version", "")
        if missing := set(Kind) - document.keys():
            raise RetentionPolicyInvalidError(f"{path.name} lacks {', '.join(sorted(missing))}.")
        return RetentionPolicy.model_validate({"version": version, "rules": document})
    except OSError as error:
        raise RetentionPolicyInvalidError(f"{path.name}: {error.strerror}.") from error
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise RetentionPolicyInvalidError(f"{path.name}: {'; '.join(faults)}.") from error
    except ValueError as error:  # neither UTF-8 nor TOML
        raise RetentionPolicyInvalidError(f"{path.name}: {error}.") from error
