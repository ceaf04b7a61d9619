"""`hemotriage migrate`: the database schema and the bucket."""

from __future__ import annotations

import click

from services.cli.operator import operator_settings
from shared.db.migrate import upgrade
from shared.db.session import create_database
from shared.storage.s3 import S3Store


@click.command("migrate")
def command() -> None:
    """Apply every missing migration and make the bucket; safe to repeat."""
    settings = operator_settings()
    upgrade(create_database(settings, pool_size=1, patient=True))
    S3Store(settings, pool_size=1, patient=True).ensure_bucket()
