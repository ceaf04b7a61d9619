"""The work of `hemotriage study`, once its options are known to fit; loads TensorFlow."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click
from rich.table import Table

from services.cli.rendering import stdout_console
from services.trainer.dataset import Dataset
from services.trainer.plan import TrainingPlan
from services.trainer.release import Release, release_ensemble, release_run
from services.trainer.report import html_study
from services.trainer.siblings import Origin
from services.trainer.splits import Split
from services.trainer.study import Study, best_run, run_study
from services.trainer.tools import make_tools
from shared.models.architectures import architecture
from shared.models.registry import ModelVersion
from shared.settings import InferenceSettings


def train_and_export(
    dataset: Dataset,
    split: Split,
    plans: tuple[TrainingPlan, ...],
    targets: Mapping[str, Sequence[ModelVersion]],
    *,
    settings: InferenceSettings,
    given: Mapping[str, Any],
) -> None:
    """Train every plan from every seed, tell of it, and export runs.

    Args:
        dataset: The images.
        split: Of them.
        plans: One an architecture.
        targets: The versions to be made, by architecture; none, where nothing is exported.
        settings: Of the engine.
        given: The command's options.

    Raises:
        UnknownModelError: A plan names no architecture; nothing was trained.
    """
    for plan in plans:
        architecture(plan.architecture)
    study = Study(dataset, split, plans, given["seeds"], given["work"])
    tools = make_tools(settings, given["work"], teacher=given["teacher"], base=given["base"])
    report = run_study(study, tools)
    stdout_console(width=110).print(_table(report))
    if given["json_file"]:
        given["json_file"].write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if given["html_file"]:
        given["html_file"].write_text(html_study(report), encoding="utf-8")
    release = _release(dataset, split, settings, given)
    origin = Origin(dataset, split, given["work"], settings)
    for name, versions in targets.items():
        summary = report["models"][name]
        runs = summary["runs"] if given["every_seed"] else [best_run(summary)]
        for target, run in zip(versions, runs, strict=True):
            card = release_run(run, target, release, origin.sibling, seeds=summary["accuracy"])
            _say(target, card)


def export_ensemble(
    dataset: Dataset,
    split: Split,
    members: Sequence[ModelVersion],
    target: ModelVersion,
    *,
    settings: InferenceSettings,
    given: Mapping[str, Any],
) -> None:
    """Make a version that is the mean of others."""
    release = _release(dataset, split, settings, given)
    origin = Origin(dataset, split, given["work"], settings)
    _say(target, release_ensemble(members, target, release, origin.sibling))


def _release(
    dataset: Dataset, split: Split, settings: InferenceSettings, given: Mapping[str, Any]
) -> Release:
    return Release(
        dataset,
        split,
        settings,
        robustness=given["robustness"],
        lower_precisions=given["gate"],
        explanations=given["explanations"],
    )


def _table(report: dict[str, Any]) -> Table:
    split = report["split"]
    table = Table(
        "model", "accuracy by seed", "mean [95 %]", "sensitivity", "macro F1", "hours",
        title=f"{split['protocol']} split, {split['counts']['test']} test images",
        caption=f"{report['wall_seconds'] / 60:.1f} min, {report['peak_memory_mib']:.0f} MiB",
    )  # fmt: skip
    for name, summary in report["models"].items():
        runs, accuracy = summary["runs"], summary["accuracy"]
        low, high = accuracy["wilson95"]
        table.add_row(
            name,
            ", ".join(f"{run['metrics']['accuracy']['value']:.4f}" for run in runs),
            f"{accuracy['mean']:.4f} [{low:.4f}, {high:.4f}]",
            ", ".join(f"{run['metrics']['sensitivity']['value']:.4f}" for run in runs),
            ", ".join(f"{run['metrics']['macro_f1']:.4f}" for run in runs),
            f"{sum(run['seconds'] for run in runs) / 3600:.2f}",
        )
    colour = report["colour_baseline"]["accuracy"]
    low, high = colour["wilson95"]
    table.add_row("colour alone", "", f"{colour['value']:.4f} [{low:.4f}, {high:.4f}]", "", "", "")
    return table


def _say(target: ModelVersion, card: dict[str, Any]) -> None:
    accuracy = card["metrics"]["accuracy"]
    click.echo(
        f"{target}: accuracy {accuracy['value']:.4f} ({accuracy['count']}/{accuracy['of']}) on its "
        f"test part; {target.folder}"
    )
