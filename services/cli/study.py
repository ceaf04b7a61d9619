"""`hemotriage study`: train, evaluate and export."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Literal

import click

from services.trainer.dataset import read_dataset
from services.trainer.splits import Protocol, split_dataset
from services.trainer.study import export_version, train_seeds
from services.trainer.train import TrainingPlan
from shared.errors import ConflictError
from shared.models.registry import ModelVersion
from shared.settings import InferenceSettings


@click.command("study")
@click.argument(
    "folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.option("--models", "architecture", default="cnn_custom", show_default=True)
@click.option(
    "--protocol",
    type=click.Choice([str(protocol) for protocol in Protocol]),
    default=str(Protocol.GROUPED),
    show_default=True,
)
@click.option("--split-seed", default=2022, show_default=True)
@click.option("--seeds", default="1,2,3", show_default=True, help="A training run each.")
@click.option(
    "--precision",
    type=click.Choice(["float32", "mixed_bfloat16"]),
    default="float32",
    show_default=True,
    help="Of the training arithmetic; weights and exports are always float32.",
)
@click.option("--max-epochs", default=30, show_default=True)
@click.option("--images-per-class", default=3000, show_default=True, help="After augmentation.")
@click.option(
    "--work",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("var/study"),
    show_default=True,
    help="Where the runs are kept; one that is finished is not trained again.",
)
@click.option("--version", type=click.IntRange(min=1), help="Export the best run as this version.")
@click.option(
    "--source",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A JSON file for the card: `name`, `paper`, `data` and `terms` of the images.",
)
@click.option("--models-dir", type=click.Path(file_okay=False, path_type=Path), help="Where to.")
def command(
    folder: Path,
    *,
    architecture: str,
    protocol: str,
    split_seed: int,
    seeds: str,
    precision: Literal["float32", "mixed_bfloat16"],
    max_epochs: int,
    images_per_class: int,
    work: Path,
    version: int | None,
    source: Path | None,
    models_dir: Path | None,
) -> None:
    """Train on DIR, which has one folder a class, and export the best run with its card."""
    if version is not None and Protocol(protocol) is Protocol.PUBLISHED:
        raise ConflictError("What is trained with the scale bar visible is never exported.")
    settings = InferenceSettings()
    dataset = read_dataset(folder)
    if source is not None:
        dataset = replace(dataset, source=json.loads(source.read_text()))
    split = split_dataset(dataset, Protocol(protocol), split_seed)
    plan = TrainingPlan(
        architecture,
        seed=0,
        precision=precision,
        max_epochs=max_epochs,
        images_per_class=images_per_class,
    )
    best = train_seeds(plan, [int(seed) for seed in seeds.split(",")], split, work)
    click.echo(f"best run: {best}")
    if version is not None:
        target_folder = (models_dir or settings.models_dir) / architecture / str(version)
        if (target_folder / "card.json").exists():
            raise ConflictError(f"{architecture}@{version} exists; versions never change.")
        target = ModelVersion(architecture, version, target_folder)
        card = export_version(best, dataset, split, target, settings)
        accuracy = card["metrics"]["accuracy"]
        click.echo(f"{target}: accuracy {accuracy['value']:.4f} on its test part; {target_folder}")
