"""`hemotriage evaluate`: measure one model on labelled images, or compare several."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from services.cli.evaluation_tables import print_comparison, print_report
from services.cli.files import FILE, in_a_folder
from services.cli.rendering import stdout_console
from services.trainer.compare import compare
from services.trainer.dataset import Grouping, read_dataset
from services.trainer.evaluate import (
    Evaluation,
    Part,
    evaluate_part,
    read_part,
    trained_on,
)
from services.trainer.foreign import measure_foreign
from services.trainer.report import html_comparison, html_report
from services.trainer.robustness import robustness
from services.trainer.splits import Protocol
from shared.models.predictor import Predictor
from shared.models.registry import ModelRegistry, ModelVersion
from shared.settings import InferenceSettings

_OF_THE_CARD = ("split", "limits", "colour_baseline", "training", "precisions")


@click.command("evaluate")
@click.argument(
    "folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.option(
    "--model",
    "models",
    multiple=True,
    default=["champion"],
    show_default=True,
    help="Alias, NAME or NAME@VERSION; give it again to compare models on the same images.",
)
@click.option(
    "--protocol",
    type=click.Choice([str(protocol) for protocol in Protocol]),
    help="Measure on the test part of this split, with the seed of the first model's card, "
    "and not on every image.",
)
@click.option(
    "--split-seed",
    type=click.IntRange(min=0),
    help="Of that split, instead of the card's.",
)
@click.option(
    "--groups",
    type=click.Choice(["auto", "manifest", "detected"]),
    default="auto",
    show_default=True,
    help="Groups that the split keeps together: of a manifest.csv, or found among the pixels.",
)
@click.option("--robustness", "changed", is_flag=True, help="Measure on changed images as well.")
@click.option(
    "--foreign",
    "foreign",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of images unlike those of the data set: how many are sent to review. Repeatable.",
)
@click.option(
    "--json", "json_file", type=FILE, callback=in_a_folder, help="Write all measures here."
)
@click.option(
    "--html",
    "html_file",
    type=FILE,
    callback=in_a_folder,
    help="Write a page with tables and plots here.",
)
def command(
    folder: Path,
    *,
    models: tuple[str, ...],
    protocol: str | None,
    split_seed: int | None,
    groups: Grouping,
    changed: bool,
    foreign: tuple[Path, ...],
    json_file: Path | None,
    html_file: Path | None,
) -> None:
    """Measure a model on DIR, which has one folder a class: Benign, Early, Pre, Pro."""
    if protocol is None and split_seed is not None:
        raise click.UsageError("--split-seed needs --protocol: without it nothing is split.")
    settings = InferenceSettings()
    registry = ModelRegistry(settings.models_dir)
    versions = list(dict.fromkeys(registry.resolve(model) for model in models))
    seed = versions[0].card["split"]["seed"] if split_seed is None else split_seed
    dataset = read_dataset(folder, groups=groups if protocol else "none")
    split = Protocol(protocol) if protocol else None
    part = read_part(dataset, protocol=split, seed=seed, leave_out=True)
    evaluations = {
        str(version): _evaluate(version, part, registry, settings, changed=changed, foreign=foreign)
        for version in versions
    }
    report, page = _report(evaluations, part)
    if json_file:
        json_file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if html_file:
        html_file.write_text(page, encoding="utf-8")


def _evaluate(
    version: ModelVersion,
    part: Part,
    registry: ModelRegistry,
    settings: InferenceSettings,
    *,
    changed: bool,
    foreign: tuple[Path, ...],
) -> Evaluation:
    predictor = Predictor.load(version, settings)
    cards = [registry.get(made_of.name, made_of.version).card for made_of in predictor.references]
    evaluation = evaluate_part(predictor, part, cards=cards)
    report = evaluation.report
    report["measured_on"] = {
        **part.measured_on,
        "trained_on": trained_on(version, part),
    }
    report["card"] = {key: version.card[key] for key in _OF_THE_CARD if key in version.card}
    if changed:
        report["robustness"] = robustness(
            lambda images: predictor.predict(images).calibrated, part.images, part.labels
        )
    if foreign:
        report["foreign"] = {
            str(folder): measure_foreign(predictor, folder, max_pixels=settings.max_pixels)
            for folder in foreign
        }
    return evaluation


def _report(evaluations: dict[str, Evaluation], part: Part) -> tuple[dict[str, Any], str]:
    """Print what was measured; returns it as plain data and as a page."""
    console = stdout_console()
    reports = {name: evaluation.report for name, evaluation in evaluations.items()}
    for report in reports.values():
        print_report(report, console)
    if len(reports) == 1:
        (report,) = reports.values()
        return report, html_report(report)
    predictions = {name: evaluation.predicted for name, evaluation in evaluations.items()}
    comparison = compare(part.labels, predictions)
    print_comparison(reports, comparison, console)
    return {"models": reports, "comparison": comparison}, html_comparison(reports, comparison)
