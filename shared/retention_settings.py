"""The settings of retention."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings

_PROJECT_ROOT = Path(__file__).resolve().parent.parent


class RetentionSettings(BaseSettings):
    """A part of `shared.settings.Settings`; nothing reads it by itself."""

    retention_policy: Path = Field(
        default=_PROJECT_ROOT / "models" / "retention.toml",
        description="How long each kind of data is kept.",
    )
    retention_interval_seconds: float = Field(
        default=3600, gt=0, description="Pause between two purges of what the policy lets go."
    )
