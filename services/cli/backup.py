"""`hemotriage backup`: database and objects at one moment, into a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from services.cli.operator import operator_settings
from shared.backup.database import copying_engine
from shared.backup.errors import BackupDamagedError, BackupIncompleteError
from shared.backup.keep import damages, keep_newest
from shared.backup.manifest import Manifest
from shared.backup.objects import OBJECTS_AT_ONCE
from shared.backup.place import BackupPlace
from shared.backup.take import take_backup
from shared.backup.textfile import write_textfile
from shared.db.roles.table import Role
from shared.storage.s3 import S3Store

folder_argument = click.argument(
    "folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path)
)
_TAKE = "take"


class _TakesUnlessTold(click.Group):
    """`backup DIR` is `backup take DIR`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands:
            args = [_TAKE, *args]
        return super().resolve_command(ctx, args)


@click.group(
    "backup",
    cls=_TakesUnlessTold,
    subcommand_metavar="DIR [--keep N] | COMMAND [ARGS]...",
    context_settings={"ignore_unknown_options": True},
)
def command() -> None:
    """Back up database and objects into DIR, which then names patients: keep it encrypted.

    The service goes on working meanwhile. What an earlier backup in DIR has is not copied again.
    """


@command.command(_TAKE)
@folder_argument
@click.option("--keep", type=click.IntRange(min=1), help="Remove all backups but the newest N.")
def take(folder: Path, keep: int | None) -> None:
    """Make a backup; the same without `take`."""
    settings = operator_settings(Role.BACKUP)
    storage = S3Store(settings, pool_size=OBJECTS_AT_ONCE, patient=True)
    place = BackupPlace(folder)
    with place.alone(), copying_engine(settings) as engine:
        with progress_told() as told:
            manifest = take_backup(engine, storage, place, told)
        # First of all: the backup is there, whatever is found in those before it.
        click.echo(f"backup {place.names()[-1]} {_line(manifest)}")
        removed = keep_newest(place, keep) if keep else []
    for name in removed:
        click.echo(f"removed {name}")
    if manifest.lost:
        for one in manifest.lost:
            click.echo(f"{one.reason} {one.key}", err=True)
        raise BackupIncompleteError(f"{len(manifest.lost)} objects.")


@command.command("list")
@folder_argument
def list_all(folder: Path) -> None:
    """List the backups in DIR, the oldest first, a line each."""
    place = BackupPlace(folder)
    for name in place.names():
        click.echo(f"{name} {_line(Manifest.read(place.folder(name)))}")


@command.command("verify")
@folder_argument
@click.option("--name", help="The backup; the newest one unless it is named.")
@click.option(
    "--textfile",
    type=click.Path(dir_okay=False, path_type=Path),
    help="If it is whole, write when it was taken there, for Prometheus' node exporter.",
)
def verify(folder: Path, name: str | None, textfile: Path | None) -> None:
    """Read all of a backup, and compare every table and object with its SHA-256."""
    place = BackupPlace(folder)
    found = 0
    for damage in damages(place, name):
        click.echo(damage, err=True)
        found += 1
    if found:
        raise BackupDamagedError(f"{found} parts.")
    path = place.folder(name)
    manifest = Manifest.read(path)
    click.echo(f"whole {path.name} {_line(manifest)}")
    if textfile:
        write_textfile(textfile, manifest)


@contextmanager
def progress_told() -> Iterator[Callable[[str], None]]:
    """A line on a terminal that counts what is told; nothing elsewhere."""
    columns = TextColumn("{task.description}s {task.completed:,}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        tasks: dict[str, TaskID] = {}

        def told(kind: str) -> None:
            if kind not in tasks:
                tasks[kind] = progress.add_task(kind, total=None)
            progress.advance(tasks[kind])

        yield told


def _line(manifest: Manifest) -> str:
    rows = sum(table.rows for table in manifest.tables.values())
    return (
        f"taken_at={manifest.taken_at.isoformat(timespec='seconds')} "
        f"revision={manifest.revision} software={manifest.software} "
        f"tables={len(manifest.tables)} rows={rows} objects={manifest.objects.count} "
        f"bytes={manifest.objects.bytes} lost={len(manifest.lost)} sha256={manifest.sha256}"
    )
