"""Tenants: the hospitals that share a service, and see nothing of each other's cases.

A key belongs to one tenant; what is done with it, and what it may read, is of that tenant. Each
query of cases takes the tenant as an argument that it cannot be called without.
"""

from __future__ import annotations

import re
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Text, bindparam, func, true
from sqlalchemy.orm import InstrumentedAttribute

from shared.db.models import DEFAULT_TENANT
from shared.errors import PermanentError

__all__ = [
    "DEFAULT_TENANT",
    "EVERY_TENANT",
    "TENANT",
    "AdminTenantError",
    "parse_tenant",
    "within",
    "within_asked",
]

EVERY_TENANT: Final = None
"""What the service's own processes and its operator's prompt ask for; no key does."""

TENANT = r"^[a-z0-9][a-z0-9-]{0,31}$"
"""The pattern of a tenant's name."""


class AdminTenantError(PermanentError):
    """The scope `admin` is about the whole service: keys of the tenant `default` alone have it."""

    code = "admin_of_default_tenant"


TenantColumn = InstrumentedAttribute[str] | Column[Any]

_NAME = re.compile(TENANT)


def parse_tenant(text: str) -> str:
    """Read the name of a tenant.

    Raises:
        ValueError: It is none.
    """
    if not _NAME.fullmatch(text):
        raise ValueError(f"expected up to 32 of a-z, 0-9 and -, received {text!r}")
    return text


def within(column: TenantColumn, tenant: str | None) -> ColumnElement[bool]:
    """The condition that a row is a tenant's, or anybody's for `EVERY_TENANT`."""
    return true() if tenant is EVERY_TENANT else column == tenant


def within_asked(column: TenantColumn) -> ColumnElement[bool]:
    """The same by the parameter `:tenant`, for statements that are made once and find one row."""
    return column == func.coalesce(bindparam("tenant", type_=Text), column)
