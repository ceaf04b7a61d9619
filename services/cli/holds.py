"""`hemotriage holds`: legal holds."""

from __future__ import annotations

import uuid

import click
from rich.table import Column, Table

from services.cli.operator import operator_settings
from services.cli.rendering import stdout_console
from services.cli.tenants import tenant_option
from shared.db.session import Sessions, create_database, create_sessions
from shared.retention.holds import HoldKind, list_holds, place, release

_ACTOR = "operator"


@click.group("holds")
def command() -> None:
    """Keep data from being purged and erased, in the database of the settings or of `make run`."""


@command.command("place")
@click.argument("kind", type=click.Choice([kind.value for kind in HoldKind]))
@click.argument("value")
@click.option("--reason", required=True, help="A code, such as the number of a matter.")
@tenant_option("Whose data are held.")
def place_one(*, kind: str, value: str, reason: str, tenant: str) -> None:
    """Hold a job, all that is of a patient, or an order and its jobs; prints the hold's id."""
    named = HoldKind(kind)
    hold = place(_sessions(), named, value, tenant=tenant, reason=reason, actor=_ACTOR)
    click.echo(hold.id)


@command.command("release")
@click.argument("hold_id", type=click.UUID)
def release_one(hold_id: uuid.UUID) -> None:
    """Release the hold with this id."""
    release(_sessions(), hold_id, actor=_ACTOR)
    click.echo(f"released {hold_id}")


@command.command("list")
@click.option("--all", "released", is_flag=True, help="Those that were released too.")
def list_all(*, released: bool) -> None:
    """List the holds of all tenants, newest first."""
    titles = ("id", "tenant", "kind", "value", "reason", "placed", "by", "released")
    table = Table(*(Column(title, overflow="fold", no_wrap=title == "id") for title in titles))
    for hold in list_holds(_sessions(), released=released):
        ended = hold.released_at
        table.add_row(
            str(hold.id),
            hold.tenant,
            hold.kind,
            hold.value,
            hold.reason,
            hold.placed_at.isoformat(timespec="seconds"),
            hold.placed_by,
            ended.isoformat(timespec="seconds") if ended else "-",
        )
    stdout_console().print(table)


def _sessions() -> Sessions:
    return create_sessions(create_database(operator_settings(), pool_size=1))
