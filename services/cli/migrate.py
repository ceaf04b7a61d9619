"""`hemotriage migrate`: the database schema and the bucket."""

from __future__ import annotations

import click

from services.cli.operator import operator_settings
from shared.db.migrate import downgrade, upgrade
from shared.db.session import create_database
from shared.storage.s3 import S3Store


@click.command("migrate")
@click.option("--back-to", metavar="REVISION", help="Take back what came after it; loses rows.")
def command(back_to: str | None) -> None:
    """Apply every missing migration and make the bucket; safe to repeat."""
    settings = operator_settings()
    database = create_database(settings, pool_size=1, patient=True)
    if back_to:
        downgrade(database, back_to)
        return
    upgrade(database)
    S3Store(settings, pool_size=1, patient=True).ensure_bucket()
