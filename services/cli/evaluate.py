"""`hemotriage evaluate`: measure a model on labelled images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from services.trainer.dataset import read_dataset
from services.trainer.evaluate import evaluate
from services.trainer.splits import Protocol
from shared.models.predictor import Predictor
from shared.models.registry import ModelRegistry
from shared.settings import InferenceSettings
from shared.triage.labels import LABELS


@click.command("evaluate")
@click.argument(
    "folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.option("--model", default="champion", show_default=True, help="Alias, NAME or NAME@VERSION.")
@click.option(
    "--protocol",
    type=click.Choice([str(protocol) for protocol in Protocol]),
    help="Measure on the test part of this split, with the seed of the model's card, "
    "and not on every image.",
)
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), help="Write all measures here."
)
@click.option("--html", "html_file", type=click.Path(path_type=Path), help="Write the tables here.")
def command(
    folder: Path, model: str, protocol: str | None, json_file: Path | None, html_file: Path | None
) -> None:
    """Measure a model on DIR, which has one folder a class: Benign, Early, Pre, Pro."""
    settings = InferenceSettings()
    version = ModelRegistry(settings.models_dir).resolve(model)
    report = evaluate(
        Predictor.load(version, settings),
        read_dataset(folder),
        protocol=Protocol(protocol) if protocol else None,
        seed=version.card["split"]["seed"],
    )
    report["card"] = {key: version.card[key] for key in ("split", "limits", "colour_baseline")}
    console = Console(record=True)
    _print(report, console)
    if json_file:
        json_file.write_text(json.dumps(report, indent=1) + "\n")
    if html_file:
        console.save_html(str(html_file))


def _print(report: dict[str, Any], console: Console) -> None:
    metrics, model, measured_on = report["metrics"], report["model"], report["measured_on"]
    split = measured_on.get("split")
    part = f"{split['part']} part, {split['protocol']} split" if split else "every image"
    console.print(
        f"{model['name']}@{model['version']} ({model['engine']}, {model['precision']}) "
        f"on {metrics['images']} images: {part}"
    )
    console.print(_class_table(metrics))
    console.print(_confusion_table(metrics))
    console.print(_summary_table(report))
    console.print(_policy_table(metrics))
    console.print(report["card"]["limits"])


def _class_table(metrics: dict[str, Any]) -> Table:
    table = Table("class", "precision", "recall", "F1", "images", title="By class")
    for label, row in metrics["per_class"].items():
        figures = (f"{row[name]:.4f}" for name in ("precision", "recall", "f1"))
        table.add_row(label, *figures, f"{row['support']:.0f}")
    return table


def _confusion_table(metrics: dict[str, Any]) -> Table:
    table = Table("true \\ predicted", *LABELS, title="Confusion")
    for label, row in zip(LABELS, metrics["confusion_matrix"], strict=True):
        table.add_row(label, *map(str, row))
    return table


def _summary_table(report: dict[str, Any]) -> Table:
    metrics = report["metrics"]
    table = Table("measure", "value", title="Summary (95 % Wilson intervals)")
    for name in ("accuracy", "sensitivity", "specificity"):
        table.add_row(name, _proportion(metrics[name]))
    table.add_row("macro F1", f"{metrics['macro_f1']:.4f}")
    auc = metrics["auc_malignant"]
    table.add_row("AUC malignant against benign", "-" if auc is None else f"{auc:.4f}")
    for when in ("before", "after"):
        calibration = metrics["calibration"][when]
        figures = f"ECE {calibration['ece']:.4f}, Brier {calibration['brier']:.4f}"
        table.add_row(f"{when} calibration", figures)
    baseline = report["card"]["colour_baseline"]["accuracy"]
    table.add_row("colour alone, on the card's test part", _proportion(baseline))
    return table


def _policy_table(metrics: dict[str, Any]) -> Table:
    table = Table("urgency", "share of images", "wrong among them", title="Policy")
    for urgency, row in metrics["policy"].items():
        table.add_row(urgency, f"{row['coverage']:.1%}", _proportion(row["errors"]))
    return table


def _proportion(figure: dict[str, Any]) -> str:
    if figure["value"] is None:
        return "-"
    low, high = figure["wilson95"]
    return f"{figure['value']:.4f} [{low:.4f}, {high:.4f}] ({figure['count']}/{figure['of']})"
