"""Secrets out of files, as container runtimes hand them out.

`HEMOTRIAGE_X_FILE` names a file with what `HEMOTRIAGE_X` would be, for each setting that is secret.
"""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource

from shared.errors import BadRequestError

_ENDING = "_FILE"


class SecretFileError(BadRequestError):
    """A secret cannot be had from its file."""

    code = "secret_file_invalid"


class SecretFiles(EnvSettingsSource):
    """Looks for the file of each secret setting.

    A variable that is empty counts as unset: Compose passes on those that nobody has set.
    """

    def __call__(self) -> dict[str, Any]:
        """The secrets that have a file, by the names of their fields.

        Raises:
            SecretFileError: A file is missing, unreadable or empty, or its secret is given in the
                environment too.
        """
        fields = self.settings_cls.model_fields.items()
        named = {name: self._variable(name) for name, field in fields if is_secret(field)}
        return {
            name: self._read(variable)
            for name, variable in named.items()
            if self._given(f"{variable}{_ENDING}")
        }

    def _variable(self, name: str) -> str:
        return f"{self.env_prefix}{name}".upper()

    def _given(self, variable: str) -> str | None:
        return self.env_vars.get(variable if self.case_sensitive else variable.lower())

    def _read(self, variable: str) -> str:
        file = f"{variable}{_ENDING}"
        if self._given(variable):
            raise SecretFileError(f"{variable} and {file} are both set.")
        try:
            secret = Path(str(self._given(file))).read_text().rstrip("\r\n")
        # What is no text is shown by neither error.
        except (OSError, UnicodeDecodeError) as error:
            raise SecretFileError(f"{file}: {type(error).__name__}.") from None
        if not secret:
            raise SecretFileError(f"{file}: the file is empty.")
        return secret


def is_secret(field: FieldInfo) -> bool:
    """Whether a field holds a secret."""
    return SecretStr in (field.annotation, *typing.get_args(field.annotation))
