"""The settings of database roles and TLS; and secrets from files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from shared.db.roles.passwords import parse_role_passwords
from shared.secret_files import SecretFiles


class SecuritySettings(BaseSettings):
    """A part of `shared.settings.Settings`; nothing reads it by itself."""

    role_passwords: SecretStr = Field(
        default=SecretStr(""),
        description="Of the database roles, for `migrate` alone: `ROLE=PASSWORD`, by comma or "
        "line; unset: there is one role.",
    )
    s3_ca_file: Path | None = Field(
        default=None,
        description="PEM file of who vouches for the object store; unset: whom the system trusts.",
    )
    api_tls_certificate: Path | None = Field(
        default=None, description="PEM file with the API's certificate; unset: no TLS."
    )
    api_tls_key: Path | None = Field(
        default=None,
        validate_default=True,
        description="PEM file with the key of that certificate.",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment, and the files that it names; nothing else is read."""
        del dotenv_settings, file_secret_settings
        # An empty variable must not hide the file of its secret.
        return init_settings, SecretFiles(settings_cls), env_settings

    @field_validator("role_passwords")
    @classmethod
    def _passwords_are_well_formed(cls, passwords: SecretStr) -> SecretStr:
        parse_role_passwords(passwords.get_secret_value())
        return passwords

    @field_validator("s3_ca_file", "api_tls_certificate", "api_tls_key", mode="before")
    @classmethod
    def _empty_is_unset(cls, path: Any) -> Any:
        return path or None

    @field_validator("api_tls_key")
    @classmethod
    def _key_belongs_to_a_certificate(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        if (key is None) != (info.data.get("api_tls_certificate") is None):
            raise ValueError("a certificate and its key are set together")
        return key
