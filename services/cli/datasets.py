"""`hemotriage datasets`: versions of labelled images."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from services.cli.dataset_uploads import from_reviews, upload
from services.cli.rendering import stdout_console
from services.trainer.importing import (
    VERSIONS,
    ImportReport,
    import_dataset,
    read_version,
    read_versions,
)
from shared.triage.labels import LABELS

_out = click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=VERSIONS,
    show_default=True,
    help="Folder in which versions are kept.",
)
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("datasets")
def command() -> None:
    """Import, list and show data set versions; send them to the service."""


command.add_command(upload)
command.add_command(from_reviews)


@command.command("import")
@click.argument(
    "folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@_out
@_as_json
def import_folder(folder: Path, out: Path, *, as_json: bool) -> None:
    """Import DIR, which has one folder a class: Benign, Early, Pre, Pro.

    Writes OUT/VERSION.json: labels, content hashes, and groups of images that show the same area
    of a slide, found among the pixels. A version never changes; the same images give the same one.
    Files that are no usable images are listed and left out. The exit code is 1 only if a class is
    missing or has no usable image.
    """
    report = import_dataset(folder, out)
    if as_json:
        click.echo(json.dumps(_as_document(report)))
        return
    console = stdout_console()
    _print_record(report.record, console)
    console.print(f"kept as {report.path}", soft_wrap=True, highlight=False)
    if report.duplicates:
        table = Table("same content", title="Duplicates")
        for copies in report.duplicates:
            table.add_row(", ".join(copies))
        console.print(table)
    if report.overlaps:
        table = Table("image", "shows the same area as", "shared", title="Overlaps")
        for first, second, share in report.overlaps:
            table.add_row(first, second, f"{share:.0%}")
        console.print(table)
    if report.faults:
        table = Table("file", "code", "left out", "detail", title="Faulty files")
        for fault in report.faults:
            table.add_row(fault.file, fault.code, "yes" if fault.left_out else "no", fault.detail)
        console.print(table)


@command.command("list")
@_out
@_as_json
def list_versions(out: Path, *, as_json: bool) -> None:
    """List the versions."""
    records = read_versions(out)
    if as_json:
        kept = ("version", "counts", "groups")
        click.echo(json.dumps([{name: record[name] for name in kept} for record in records]))
        return
    table = Table("version", *LABELS, "groups", "left out")
    for record in records:
        counts = (str(record["counts"][label]) for label in LABELS)
        table.add_row(
            record["version"][:12], *counts, str(record["groups"]), str(len(record["left_out"]))
        )
    stdout_console().print(table)


@command.command("show")
@click.argument("version")
@_out
@_as_json
def show(version: str, out: Path, *, as_json: bool) -> None:
    """Show VERSION, given by its first characters."""
    record = read_version(version, out)
    if as_json:
        click.echo(json.dumps(record))
        return
    _print_record(record, stdout_console())


def _as_document(report: ImportReport) -> dict[str, Any]:
    return {
        "path": str(report.path),
        **report.record,
        "faults": [asdict(fault) for fault in report.faults],
        "duplicates": report.duplicates,
        "overlapping_files": [
            {"first": first, "second": second, "share": share}
            for first, second, share in report.overlaps
        ],
    }


def _print_record(record: dict[str, Any], console: Console) -> None:
    sizes = Counter(image["group"] for image in record["images"])
    contents = {image["sha256"] for image in record["images"]}
    table = Table("data set version", record["version"])
    for label, count in record["counts"].items():
        table.add_row(f"{label} images", str(count))
    table.add_row("groups", str(record["groups"]))
    table.add_row("groups of more than one", str(sum(size > 1 for size in sizes.values())))
    table.add_row("duplicates", str(len(record["images"]) - len(contents)))
    table.add_row("overlaps", str(len(record["overlaps"])))
    for code, count in sorted(Counter(row["code"] for row in record["left_out"]).items()):
        table.add_row(f"left out: {code}", str(count))
    console.print(table)
