"""`hemotriage keys`: API keys."""

from __future__ import annotations

import datetime as dt

import click
from rich.table import Column, Table

from services.cli.operator import operator_settings
from services.cli.rendering import stdout_console
from services.cli.tenants import tenant_option
from shared.auth.hosts import Networks, parse_networks
from shared.auth.keys import (
    ApiKey,
    Scope,
    create_key,
    list_keys,
    revoke_key,
    rotate_key,
)
from shared.clock import utc_now
from shared.db.session import Sessions, create_database, create_sessions


@click.group("keys")
def command() -> None:
    """Make, rotate, list and revoke API keys.

    They work on the database of the settings or of `make run`.
    """


@command.command("create")
@click.option("--name", required=True, help="Who uses the key.")
@tenant_option("Whose cases it is for.")
@click.option("--scopes", default="submit,read", show_default=True, help="Of: " + ", ".join(Scope))
@click.option(
    "--jobs-per-minute",
    type=click.IntRange(min=1),
    help="Its rate; without one, that of HEMOTRIAGE_KEY_JOBS_PER_MINUTE.",
)
@click.option("--expires-in-days", type=click.FloatRange(min=0, min_open=True))
@click.option("--hosts", help="Where it may be used from: addresses and networks, 10.0.0.0/8,...")
def create(
    name: str,
    *,
    tenant: str,
    scopes: str,
    jobs_per_minute: int | None,
    expires_in_days: float | None,
    hosts: str | None,
) -> None:
    """Make a key and print it; it is shown this once."""
    try:
        chosen = {Scope(scope.strip()) for scope in scopes.split(",")}
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--scopes") from error
    expires_at = None
    if expires_in_days is not None:
        expires_at = utc_now() + dt.timedelta(days=expires_in_days)
    _, text = create_key(
        _sessions(),
        name,
        chosen,
        tenant=tenant,
        jobs_per_minute=jobs_per_minute,
        expires_at=expires_at,
        allowed_hosts=None if hosts is None else _networks(hosts),
    )
    click.echo(text)


@command.command("rotate")
@click.argument("key_id")
@click.option(
    "--overlap",
    "hours",
    type=click.FloatRange(min=0),
    default=24,
    show_default=True,
    help="Hours for which the old key works too.",
)
def rotate(key_id: str, hours: float) -> None:
    """Make a key in the place of the one with this id, and print it; it is shown this once."""
    _, text = rotate_key(_sessions(), key_id, dt.timedelta(hours=hours))
    click.echo(text)


@command.command("list")
def list_all() -> None:
    """List the keys, without their secrets, and those whom issuers of tokens vouch for."""
    moments = ("created", "expires", "revoked")
    titles = (
        "id",
        "name",
        "tenant",
        "scopes",
        "jobs/min",
        "hosts",
        *moments,
        "successor of",
        "issuer",
    )
    table = Table(*(Column(title, overflow="fold", no_wrap=title == "id") for title in titles))
    for key in list_keys(_sessions()):
        table.add_row(*_row(key))
    stdout_console().print(table)


@command.command("revoke")
@click.argument("key_id")
def revoke(key_id: str) -> None:
    """Revoke the key, or the identity, with this id."""
    revoke_key(_sessions(), key_id)
    click.echo(f"revoked {key_id}")


def _row(key: ApiKey) -> list[str]:
    scopes = "by token" if key.issuer else ", ".join(sorted(key.scopes))
    moments = (key.created_at, key.expires_at, key.revoked_at)
    return [
        key.id,
        key.name,
        key.tenant,
        scopes,
        str(key.jobs_per_minute or "-"),
        "any" if key.allowed_hosts is None else ", ".join(map(str, key.allowed_hosts)),
        *(at.isoformat(timespec="seconds") if at else "-" for at in moments),
        key.successor_of or "-",
        key.issuer or "-",
    ]


def _networks(hosts: str) -> Networks:
    try:
        networks = parse_networks(hosts)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--hosts") from error
    if not networks:
        raise click.BadParameter("it names no host", param_hint="--hosts")
    return networks


def _sessions() -> Sessions:
    return create_sessions(create_database(operator_settings(), pool_size=1))
