"""`hemotriage keys`: API keys."""

from __future__ import annotations

import datetime as dt

import click
from rich.console import Console
from rich.table import Column, Table

from services.cli.operator import operator_settings
from shared.auth.keys import Scope, create_key, list_keys, revoke_key
from shared.clock import utc_now
from shared.db.session import Sessions, create_database, create_sessions


@click.group("keys")
def command() -> None:
    """Make, list and revoke API keys; works on the database of the settings or of `make run`."""


@command.command("create")
@click.option("--name", required=True, help="Who uses the key.")
@click.option("--scopes", default="submit,read", show_default=True, help="Of: " + ", ".join(Scope))
@click.option(
    "--jobs-per-minute",
    type=click.IntRange(min=1),
    help="Its rate; without one, that of HEMOTRIAGE_KEY_JOBS_PER_MINUTE.",
)
@click.option("--expires-in-days", type=click.FloatRange(min=0, min_open=True))
def create(
    name: str, scopes: str, jobs_per_minute: int | None, expires_in_days: float | None
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
        _sessions(), name, chosen, jobs_per_minute=jobs_per_minute, expires_at=expires_at
    )
    click.echo(text)


@command.command("list")
def list_all() -> None:
    """List the keys, without their secrets."""
    titles = ("id", "name", "scopes", "jobs/min", "created", "expires", "revoked")
    table = Table(*(Column(title, overflow="fold", no_wrap=title == "id") for title in titles))
    for key in list_keys(_sessions()):
        moments = (key.created_at, key.expires_at, key.revoked_at)
        shown = (at.isoformat(timespec="seconds") if at else "-" for at in moments)
        rate = str(key.jobs_per_minute or "-")
        table.add_row(key.id, key.name, ", ".join(sorted(key.scopes)), rate, *shown)
    Console().print(table)


@command.command("revoke")
@click.argument("key_id")
def revoke(key_id: str) -> None:
    """Revoke the key with this id."""
    revoke_key(_sessions(), key_id)
    click.echo(f"revoked {key_id}")


def _sessions() -> Sessions:
    return create_sessions(create_database(operator_settings(), pool_size=1))
