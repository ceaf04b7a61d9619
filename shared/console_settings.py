"""The settings of the web console."""

from __future__ import annotations

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings

_SECRET_CHARACTERS = 32


class ConsoleSettings(BaseSettings):
    """A part of `shared.settings.Settings`; nothing reads it by itself."""

    console_secret: SecretStr | None = Field(
        default=None,
        description="Signs the console's sessions, 32 characters or more; unset: no console.",
    )
    console_session_hours: int = Field(
        default=8, ge=1, le=24, description="Longest time that somebody stays signed in, in hours."
    )
    console_url: str = Field(
        default="",
        pattern=r"^(https?://[^/?#\s]+)?$",
        description="Address of this service in browsers, `https://HOST`; unset: as asked.",
    )
    oidc_client_secret: SecretStr | None = Field(
        default=None,
        description="Of the console as a client of an OpenID provider; unset: PKCE alone.",
    )

    @field_validator("console_secret")
    @classmethod
    def _console_secret_is_not_guessed(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret and len(secret) < _SECRET_CHARACTERS:
            raise ValueError(f"it must have {_SECRET_CHARACTERS} characters or more")
        return secret or None
