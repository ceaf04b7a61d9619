"""`hemotriage migrate`: the database schema, its roles, and the bucket."""

from __future__ import annotations

import click

from services.cli.operator import operator_settings
from shared.db.migrate import downgrade, is_known, revision_of, upgrade
from shared.db.roles.apply import apply_roles
from shared.db.roles.passwords import parse_role_passwords
from shared.db.roles.table import OWNER
from shared.db.session import create_database
from shared.storage.s3 import S3Store


@click.command("migrate")
@click.option("--back-to", metavar="REVISION", help="Take back what came after it; loses rows.")
def command(back_to: str | None) -> None:
    """Apply every missing migration, set up the roles, make the bucket; safe to repeat.

    The schema of a newer release is left as it is, so that one may go back to the release before.
    """
    settings = operator_settings(OWNER)
    database = create_database(settings, pool_size=1, patient=True)
    if back_to:
        downgrade(database, back_to)
        return
    with database.connect() as connection:
        revision = revision_of(connection)
    if not is_known(revision):
        click.echo(f"The schema is at {revision}, of a newer release: left as it is.", err=True)
        return
    upgrade(database)
    apply_roles(database, parse_role_passwords(settings.role_passwords.get_secret_value()))
    S3Store(settings, pool_size=1, patient=True).ensure_bucket()
