"""`hemotriage datasets upload` and `from-reviews`: data set versions of the service."""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import click
from rich.console import Console
from rich.progress import wrap_file
from rich.table import Table

from services.cli.operator import service_address
from services.cli.rendering import json_of, stdout_console
from services.trainer.dataset import labelled_files
from shared.auth.tenants import DEFAULT_TENANT
from shared.client import Client
from shared.client.answers import Failure
from shared.client.datasets import Dataset
from shared.datasets.states import DatasetStatus
from shared.triage.labels import LABELS

_name = click.option("--name", help="For people; never a patient's.")
_wait = click.option("--wait", is_flag=True, help="Wait for the import and print what it found.")
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command("upload")
@click.argument("source", metavar="ZIP_OR_DIR", type=click.Path(exists=True, path_type=Path))
@_name
@click.option("--locked", is_flag=True, help="A test set: nothing may be trained on it.")
@_wait
@_as_json
def upload(source: Path, *, name: str | None, locked: bool, wait: bool, as_json: bool) -> None:
    """Send ZIP_OR_DIR, which has one folder a class: Benign, Early, Pre, Pro.

    Of a folder the names of files are not sent. Goes to the service of HEMOTRIAGE_URL and
    HEMOTRIAGE_API_KEY, or to that of `make run`.
    """
    client = Client(*service_address())
    with _archive(source) as (file, length):
        console = Console(stderr=True)
        with wrap_file(
            file,
            length,
            description="Sending",
            console=console,
            transient=True,
            disable=not console.is_terminal,
        ) as shown:
            asked = client.upload_dataset(shown, name=name, locked=locked)
    _finish(client, asked, wait, as_json, lambda: _names(source))


@click.command("from-reviews")
@click.option("--base", help="Id of a data set whose images it has too.")
@click.option("--since", help="Id of a data set: reviews from when that was asked for.")
@click.option("--tenant", default=DEFAULT_TENANT, show_default=True, help="Whose reviews.")
@_name
@_wait
@_as_json
def from_reviews(
    *,
    base: str | None,
    since: str | None,
    tenant: str,
    name: str | None,
    wait: bool,
    as_json: bool,
) -> None:
    """Make a data set of the images of reviewed jobs.

    Of each job with one image the newest review counts, if it names one of the four classes. Goes
    to the service of HEMOTRIAGE_URL and HEMOTRIAGE_API_KEY, or to that of `make run`.
    """
    client = Client(*service_address())
    asked = client.dataset_from_reviews(base=base, reviews_since=since, tenant=tenant, name=name)
    _finish(client, asked, wait, as_json, dict)


@contextmanager
def _archive(source: Path) -> Iterator[tuple[BinaryIO, int]]:
    """A zip and its length; that of a folder has numbers in the place of names."""
    if source.is_file():
        with source.open("rb") as file:
            yield file, source.stat().st_size
        return
    with tempfile.TemporaryFile() as packed:
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
            for number, (label, path) in enumerate(labelled_files(source)):
                archive.write(path, f"{label}/{number}{path.suffix}")
        length = packed.tell()
        packed.seek(0)
        yield packed, length


def _finish(
    client: Client,
    asked: Dataset,
    wait: bool,
    as_json: bool,
    names: Callable[[], dict[str, str]],
) -> None:
    """Print a data set, at its end if it is waited for; exit code 1 where it failed."""
    found = client.wait_for_dataset(asked.id) if wait else asked
    if as_json:
        click.echo(json_of(found))
    elif found.status is DatasetStatus.READY:
        _print(found, names() if found.faults else {})
    else:
        click.echo(f"{found.id} {found.status}")
    if found.status is DatasetStatus.FAILED:
        error = found.error or Failure(code=found.status, detail=None)
        click.echo(f"hemotriage: {error.code}: {error.detail}", err=True)
        raise click.exceptions.Exit(1)


def _print(found: Dataset, names: dict[str, str]) -> None:
    console = stdout_console()
    counts, statistics = found.counts or {}, found.statistics or {}
    table = Table("data set", found.id)
    table.add_row("version", found.version)
    if found.same_as:
        table.add_row("the same version as", found.same_as)
    for label in LABELS:
        table.add_row(f"{label} images", str(counts[label]))
    for row in ("groups", "overlaps", "duplicates", "passed_over"):
        table.add_row(row.replace("_", " "), str(statistics[row]))
    for code, count in statistics["left_out"].items():
        table.add_row(f"left out: {code}", str(count))
    for direction, leaks in {"into": found.leaks_into, "from": found.leaks_from}.items():
        for leak in leaks:
            shown = f"{leak.images} images, {leak.name or leak.dataset_id}"
            table.add_row(f"leaks {direction}", shown)
    for reason, count in found.lineage.get("reviews", {}).get("left_out", {}).items():
        table.add_row(f"reviews left out: {reason}", str(count))
    console.print(table)
    if found.faults:
        faults = Table("image", "code", "left out", "detail", title="Faulty images")
        for fault in found.faults:
            image = names.get(fault.sha256, f"{fault.label} {fault.sha256}")
            left_out = "yes" if fault.left_out else "no"
            faults.add_row(image, fault.code, left_out, fault.detail)
        console.print(faults)


def _names(source: Path) -> dict[str, str]:
    """The names of a folder's files by SHA-256, which alone the service knows; none of a zip."""
    if source.is_file():
        return {}
    return {
        hashlib.sha256(path.read_bytes()).hexdigest(): f"{label}/{path.name}"
        for label, path in labelled_files(source)
    }
