"""`hemotriage models`: the model versions that are installed here."""

from __future__ import annotations

import json

import click
from rich.console import Console
from rich.table import Table

from shared.models.registry import ModelRegistry
from shared.settings import InferenceSettings


@click.group("models")
def command() -> None:
    """List and show model versions."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_versions(as_json: bool) -> None:
    """List the versions with their aliases."""
    registry = ModelRegistry(InferenceSettings().models_dir)
    aliases = registry.aliases()
    rows = [
        {
            "model": str(version),
            "aliases": [alias for alias, target in aliases.items() if target == str(version)],
            "parameters": version.card["parameters"],
            "accuracy": version.card["metrics"]["accuracy"],
            "split": version.card["split"]["protocol"],
        }
        for version in registry.versions()
    ]
    if as_json:
        click.echo(json.dumps(rows))
        return
    table = Table("model", "aliases", "parameters", "accuracy [95 %]", "split")
    for row in rows:
        accuracy = row["accuracy"]
        low, high = accuracy["wilson95"]
        shown = f"{accuracy['value']:.4f} [{low:.4f}, {high:.4f}]"
        names = ", ".join(row["aliases"])
        table.add_row(row["model"], names, f"{row['parameters']:,}", shown, row["split"])
    Console().print(table)


@command.command("show")
@click.argument("model", default="champion")
def show(model: str) -> None:
    """Print the card of MODEL: an alias, NAME or NAME@VERSION."""
    version = ModelRegistry(InferenceSettings().models_dir).resolve(model)
    click.echo(json.dumps(version.card, indent=2))
