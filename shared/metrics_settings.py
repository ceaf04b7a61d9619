"""The settings of what Prometheus scrapes from a process that is not the API."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings


class MetricsSettings(BaseSettings):
    """A part of `shared.settings.Settings`; nothing reads it by itself."""

    metrics_host: str = Field(
        default="127.0.0.1", description="Address at which a process shows its metrics."
    )
    metrics_port: int = Field(
        default=0,
        ge=0,
        le=65535,
        description="Port at which a process other than the API shows its metrics; 0: none.",
    )
