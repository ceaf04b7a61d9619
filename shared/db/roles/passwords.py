"""Passwords of the database roles, as `shared.settings` has them."""

from __future__ import annotations

from collections.abc import Mapping

from shared.db.roles.table import Role

_LEAST_CHARACTERS = 12


def parse_role_passwords(setting: str) -> Mapping[Role, str]:
    """Read `ROLE=PASSWORD`, one a line or by comma.

    Raises:
        ValueError: A part is malformed, its role is unknown or named twice, or its password is
            too short. No password is in the message.
    """
    passwords: dict[Role, str] = {}
    for part in filter(None, map(str.strip, setting.replace(",", "\n").splitlines())):
        name, equals, password = part.partition("=")
        if not equals or name not in set(Role):
            raise ValueError(f"expected ROLE=PASSWORD with a role of {', '.join(Role)}")
        if name in passwords:
            raise ValueError(f"{name} is there twice")
        if len(password) < _LEAST_CHARACTERS:
            raise ValueError(f"{name} needs a password of {_LEAST_CHARACTERS} characters or more")
        passwords[Role(name)] = password
    return passwords
