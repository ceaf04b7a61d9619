"""The change-control policy: what a version must reach to be promoted, as a file has it in writing.

Whoever judges by it and whoever promotes by a verdict read the same file, and name it by its hash.
"""

from __future__ import annotations

import hashlib
import tomllib
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError

from shared.errors import PermanentError
from shared.triage.labels import LABELS

Share = Annotated[float, Field(ge=0, le=1)]
"""A proportion."""
Points = Annotated[float, Field(ge=0, le=100)]
"""Percentage points."""


class PolicyInvalidError(PermanentError):
    """The change-control policy cannot be read; the operator must mend it."""

    code = "change_control_policy_invalid"
    http_status = HTTPStatus.INTERNAL_SERVER_ERROR


class _Table(BaseModel):
    # A misspelt threshold must not be taken for one that is not there, nor `nan` for one that is.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class LockedSetLimits(_Table):
    """What a test set must have, and how a version must have been split, to be judged on it."""

    least_images: PositiveInt
    least_per_class: PositiveInt
    least_groups: PositiveInt
    """Of images that show areas of their own: overlapping ones tell the same twice."""
    versions: tuple[str, ...]
    """The data set versions that may judge, by their SHA-256; none: any locked one."""
    training_protocols: tuple[Literal["grouped", "random"], ...] = Field(min_length=1)


class ProportionLimits(_Table):
    """Of a proportion of images that are right."""

    floor: Share
    largest_loss_points: Points
    """Below the champion."""


class PairedLimits(ProportionLimits):
    """The same, with McNemar's exact test of whether the candidate is worse."""

    alpha: Annotated[float, Field(gt=0, lt=1)]


class CalibrationLimits(_Table):
    """Of the expected calibration error (ECE), after calibration."""

    ceiling: Share
    largest_rise: Share


class UrgencyLimits(_Table):
    """Of malignant fields that are called routine."""

    ceiling: Share
    """Of the malignant fields, where there is no champion."""
    allowed_rise: NonNegativeInt
    """More fields than the champion's."""


class ReviewLimits(_Table):
    """Of fields that are flagged for review."""

    largest_rise_points: Points


class RobustnessLimits(ProportionLimits):
    """Of the mean accuracy on changed images."""

    images: Annotated[int, Field(ge=len(LABELS))]
    """The most that are changed, of all classes together."""


class SpeedLimits(_Table):
    """Of images a second, against the champion's in the same minutes."""

    least_ratio: Annotated[float, Field(ge=0)]
    alternations: PositiveInt
    """How often each is measured; the median counts."""


class SizeLimits(_Table):
    """Of the artefacts."""

    largest_bytes: PositiveInt


class ChangeControlPolicy(_Table):
    """The policy of one file; `sha256` is of the file's bytes."""

    version: str = Field(min_length=1)
    sha256: str
    valid_days: PositiveInt
    test_set: LockedSetLimits
    sensitivity: PairedLimits
    accuracy: PairedLimits
    recall: ProportionLimits
    calibration: CalibrationLimits
    urgency: UrgencyLimits
    review: ReviewLimits
    robustness: RobustnessLimits
    speed: SpeedLimits
    size: SizeLimits


def read_policy(path: Path) -> ChangeControlPolicy:
    """Read a policy file.

    Args:
        path: A TOML file; `models/change-control.toml` says what is in one.

    Raises:
        PolicyInvalidError: It is not there, is no TOML, lacks a threshold, or has one too many.
    """
    try:
        content = path.read_bytes()
        document = tomllib.loads(content.decode())
        digest = hashlib.sha256(content).hexdigest()
        return ChangeControlPolicy.model_validate({**document, "sha256": digest})
    except OSError as error:
        raise PolicyInvalidError(f"{path.name}: {error.strerror}.") from error
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise PolicyInvalidError(f"{path.name}: {'; '.join(faults)}.") from error
    except ValueError as error:  # neither UTF-8 nor TOML
        raise PolicyInvalidError(f"{path.name}: {error}.") from error
