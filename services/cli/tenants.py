"""The option `--tenant` of commands that work on the database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from shared.auth.tenants import DEFAULT_TENANT, parse_tenant

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def tenant_option(told: str) -> Decorator:
    """The option, `default` where it is left out.

    Args:
        told: What is the tenant's.
    """
    return click.option(
        "--tenant", default=DEFAULT_TENANT, show_default=True, callback=_parsed, help=told
    )


def _parsed(context: click.Context, option: click.Parameter, given: str) -> str:
    del context, option
    try:
        return parse_tenant(given)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
