"""The settings of the audit trail."""

from __future__ import annotations

import base64

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings

_KEY_BYTES = 32


class AuditSettings(BaseSettings):
    """A part of `shared.settings.Settings`; nothing reads it by itself."""

    audit_signing_key: SecretStr | None = Field(
        default=None,
        description="Signs checkpoints of the audit trail, base64 of 32 bytes; unset: unsigned.",
    )
    audit_public_keys: str = Field(
        default="",
        description="Who may have signed, for `audit verify`: public keys, base64, with spaces "
        "between them.",
    )
    audit_seal_seconds: float = Field(
        default=1.0, gt=0, description="Pause between two passes that chain new audit events."
    )
    audit_checkpoint_seconds: float = Field(
        default=60,
        gt=0,
        le=600,
        description="Least time between two kept checkpoints of that chain.",
    )

    @field_validator("audit_signing_key")
    @classmethod
    def _signing_key_is_a_key(cls, secret: SecretStr | None) -> SecretStr | None:
        if not secret or not secret.get_secret_value():
            return None
        if len(base64.b64decode(secret.get_secret_value(), validate=True)) != _KEY_BYTES:
            raise ValueError(f"it must be base64 of {_KEY_BYTES} bytes")
        return secret
