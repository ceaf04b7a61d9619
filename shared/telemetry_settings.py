"""The settings of traces."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings


class TelemetrySettings(BaseSettings):
    """A part of `shared.settings.Settings`; nothing reads it by itself."""

    otlp_endpoint: str = Field(
        default="",
        pattern=r"^(https?://[^/?#@\s]+/?)?$",
        description="Collector of traces by OTLP/HTTP, `http[s]://HOST:PORT`; unset: no traces.",
    )
    otlp_sample_ratio: float = Field(
        default=1.0, ge=0, le=1, description="Part of the traces that is kept, from 0 to 1."
    )
