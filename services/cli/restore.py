"""`hemotriage restore`: a backup into an empty database and bucket."""

from __future__ import annotations

from pathlib import Path

import click

from services.cli.backup import folder_argument, progress_told
from services.cli.operator import operator_settings
from shared.backup.database import copying_engine
from shared.backup.objects import OBJECTS_AT_ONCE
from shared.backup.place import BackupPlace
from shared.backup.restore import restore_backup
from shared.db.roles.table import OWNER
from shared.storage.s3 import S3Store


@click.command("restore")
@folder_argument
@click.option("--name", help="The backup; the newest one unless it is named.")
def command(folder: Path, name: str | None) -> None:
    """Restore a backup from DIR while no process of the service runs, and verify all of it.

    Database and bucket must be empty. The schema is brought to that of this software.
    """
    settings = operator_settings(OWNER)
    storage = S3Store(settings, pool_size=OBJECTS_AT_ONCE, patient=True)
    place = BackupPlace(folder)
    place.folder(name)  # before a folder is made that is not there
    with place.alone(), copying_engine(settings) as engine, progress_told() as told:
        manifest = restore_backup(engine, storage, place, name, told)
    for table, dump in sorted(manifest.tables.items()):
        click.echo(f"{table} rows={dump.rows}")
    click.echo(
        f"restored {place.folder(name).name} tables={len(manifest.tables)} "
        f"objects={manifest.objects.count} bytes={manifest.objects.bytes} "
        f"lost={len(manifest.lost)}; every table and object is as it was"
    )
