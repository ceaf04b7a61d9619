"""What a result was made with, beyond the versions that it names: enough to make it again."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from functools import cache
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from shared.triage.policy import POLICIES


class Provenance(BaseModel):
    """How a result came about. None of it is of a patient: hashes of pixels tell nothing of them.

    `software`, `computed_by` and `decoded_by` are where it ran. The rest decides what it says.
    """

    model_config = ConfigDict(frozen=True)

    software: str = Field(description="Version of hemotriage.")
    computed_by: str = Field(description="Version of the engine, and the processor.")
    decoded_by: str = Field(description="Version of the image decoder.")
    settings_sha256: dict[str, str] = Field(
        description="Of each model: SHA-256 of what its card decides: calibration, sets, members, "
        "files that it compares with."
    )
    policy_sha256: str = Field(description="SHA-256 of the policy's table.")
    quality_sha256: str = Field(description="SHA-256 of the limits of quality.")
    inputs_sha256: list[str] = Field(
        description="SHA-256 of the pixels that the model was given, 224 x 224 x 3 bytes an image."
    )


@cache
def policy_sha256(version: str) -> str:
    """The SHA-256 of a policy's table.

    Raises:
        KeyError: There is no such version.
    """
    return digest(asdict(POLICIES[version]))


def digest(described: Any) -> str:
    """The SHA-256 of plain data, whatever the order of its names."""
    text = json.dumps(described, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
