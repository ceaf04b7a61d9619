"""Breaks everything for real and counts what is lost: `python -m tests.faults`."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from tests.faults.scene import Row
from tests.faults.stage import ALL_FAULTS, Stage
from tests.faults.world import LONG, SHORT

_NAMES = [fault.name for fault in ALL_FAULTS]


def table_of(rows: list[Row]) -> Table:
    """One row a fault."""
    table = Table(
        title="Faults under load from 8 clients",
        caption="Seconds count from the fault, or from its end where it lasts (frozen, full).",
    )
    table.add_column("fault")
    for name in ("accepted", "finished", "lost", "doubled"):
        table.add_column(name, justify="right")
    table.add_column("first result after, s", justify="right")
    table.add_column("first new job through, s", justify="right")
    table.add_column("note")
    for row in rows:
        table.add_row(*_cells(row), style="" if row.is_good else "red")
    return table


def _cells(row: Row) -> list[str]:
    if row.skipped is not None:
        return [row.fault, "", "", "", "", "", "", f"skipped: {row.skipped}"]
    seconds = [
        "none" if found is None else f"{found:.1f}"
        for found in (row.first_result_seconds, row.first_new_seconds)
    ]
    counts = [str(n) for n in (row.accepted, row.finished, row.lost, row.doubled)]
    note = "; ".join([*row.complaints, *row.notes])
    return [row.fault, *counts, *seconds, note]


@click.command()
@click.option("--only", multiple=True, type=click.Choice(_NAMES), help="Only this; repeatable.")
@click.option("--short", is_flag=True, help="The form that the tests run.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write rows there.")
def main(only: tuple[str, ...], *, short: bool, json_file: Path | None) -> None:
    """Play the faults one after the other; exit code 1 if anything is not as it must be."""
    logging.getLogger("shared.local").setLevel(logging.ERROR)  # it tells of each restart
    console = Console(width=None if sys.stdout.isatty() else 160)
    usual = [fault for fault in ALL_FAULTS if not (short and fault.long)]
    chosen = [fault for fault in ALL_FAULTS if fault.name in only] or usual
    rows: list[Row] = []
    with Stage(SHORT if short else LONG) as stage:
        for fault in chosen:
            row = stage.play(fault)
            rows.append(row)
            console.print(
                f"{row.took_seconds:.0f} s",
                *_cells(row),
                style="" if row.is_good else "red",
                markup=False,
                highlight=False,
            )
    console.print(table_of(rows))
    if json_file is not None:
        json_file.write_text(json.dumps([row.as_dict() for row in rows], indent=1))
    sys.exit(0 if all(row.is_good for row in rows) else 1)


if __name__ == "__main__":
    main()
