"""`hemotriage webhooks`: events that clients are told of, and results that are pushed."""

from __future__ import annotations

import uuid

import click
from rich.table import Column, Table

from services.cli.operator import operator_settings
from services.cli.rendering import stdout_console
from services.cli.tenants import tenant_option
from shared.auth.tenants import EVERY_TENANT
from shared.db.session import Sessions, create_database, create_sessions
from shared.webhooks.admin import list_events, resend
from shared.webhooks.signature import new_secret
from shared.webhooks.tenant_secrets import secret_of


@click.group("webhooks")
def command() -> None:
    """List and resend webhooks and pushes, in the database of the settings or of `make run`."""


@command.command("list")
@click.option("--undelivered", is_flag=True, help="Those alone that are due or given up.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
def list_all(*, undelivered: bool, limit: int) -> None:
    """List events, newest first, with the reason of the last failure."""
    titles = ("id", "job", "event", "to", "created", "state", "attempts", "next", "last error")
    table = Table(*(Column(title, overflow="fold", no_wrap=title == "id") for title in titles))
    events = list_events(_sessions(), tenant=EVERY_TENANT, undelivered=undelivered, limit=limit)
    for event in events:
        following = event.next_attempt_at
        table.add_row(
            str(event.id),
            str(event.job_id),
            event.event,
            event.to,
            event.created_at.isoformat(timespec="seconds"),
            event.state,
            str(event.attempts),
            following.isoformat(timespec="seconds") if following else "-",
            event.last_error or "-",
        )
    stdout_console().print(table)


@command.command("resend")
@click.argument("event_id", type=click.UUID)
def resend_one(event_id: uuid.UUID) -> None:
    """Make the event with this id due at once, whether or not it was delivered."""
    resend(_sessions(), event_id, tenant=EVERY_TENANT)
    click.echo(f"due {event_id}")


@command.command("secret")
def secret() -> None:
    """Print a fresh value for HEMOTRIAGE_WEBHOOK_SECRET; it is kept nowhere."""
    click.echo(new_secret())


@command.command("tenant-secret")
@tenant_option("Whose receivers get it.")
def tenant_secret(tenant: str) -> None:
    """Print what a tenant's webhooks are signed with, by HEMOTRIAGE_WEBHOOK_SECRET."""
    of_service = operator_settings().webhook_secret
    if of_service is None:
        raise click.UsageError("HEMOTRIAGE_WEBHOOK_SECRET is not set")
    click.echo(secret_of(of_service.get_secret_value(), tenant))


def _sessions() -> Sessions:
    return create_sessions(create_database(operator_settings(), pool_size=1))
