"""The settings of who gets in."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings


class AccessSettings(BaseSettings):
    """A part of `shared.settings.Settings`; nothing reads it by itself."""

    oidc_tenant_claim: str = Field(
        default="", description="Claim of a token that tells its tenant; unset: `default`."
    )
    failed_sign_ins_per_minute: int = Field(
        default=100,
        ge=1,
        description="Invalid keys and tokens that one process of the API looks at from an address.",
    )
