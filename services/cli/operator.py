"""Where commands find the service when the environment does not say."""

from __future__ import annotations

import json
import os
from pathlib import Path

from shared.db.roles.table import Role
from shared.errors import BadRequestError
from shared.settings import PROJECT_ROOT, Settings

LOCAL_ROOT = PROJECT_ROOT / "var"
_DATABASE_URL = "HEMOTRIAGE_DATABASE_URL"


class NoServiceError(BadRequestError):
    """No service is known: set HEMOTRIAGE_URL and HEMOTRIAGE_API_KEY, or run `make run`."""

    code = "no_service"


def service_address(root: Path = LOCAL_ROOT) -> tuple[str, str]:
    """Address and key from the environment, or those of the service that `make run` started.

    Raises:
        NoServiceError: There is neither.
    """
    url, key = os.environ.get("HEMOTRIAGE_URL"), os.environ.get("HEMOTRIAGE_API_KEY")
    if url and key:
        return url, key
    try:
        local = json.loads((root / "local.json").read_text())
    except FileNotFoundError as error:
        raise NoServiceError from error
    return url or local["url"], key or local["api_key"]


def second_key() -> str | None:
    """The key of a second admin, HEMOTRIAGE_SECOND_KEY; never an argument, which others can see."""
    return os.environ.get("HEMOTRIAGE_SECOND_KEY") or None


def operator_settings(role: str = Role.OPERATOR, root: Path = LOCAL_ROOT) -> Settings:
    """Settings from the environment, or those of the servers that `make run` started.

    Args:
        role: As whom the command asks the database that `make run` started: a
            `shared.db.roles.table.Role` of the command line, or `OWNER`.
        root: The folder of `make run`.
    """
    local = root / "environment.json"
    if os.environ.keys().isdisjoint((_DATABASE_URL, f"{_DATABASE_URL}_FILE")) and local.is_file():
        os.environ.update(json.loads(local.read_text()))
        if role != Role.OPERATOR:
            os.environ[_DATABASE_URL] = json.loads((root / "roles.json").read_text())[role]
    return Settings()
