"""`hemotriage study`: train, evaluate, compare and export."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError
from rich.table import Table

from services.cli.overrides import values_of
from services.cli.rendering import stdout_console
from services.cli.study_options import study_options
from services.trainer.dataset import Dataset, read_dataset
from services.trainer.plan import Recipe, TrainingPlan, make_plan
from services.trainer.release import ENSEMBLE, Release, release_ensemble, release_run
from services.trainer.report import html_study
from services.trainer.representation import require_servable
from services.trainer.siblings import Origin, require_base
from services.trainer.splits import (
    Protocol,
    Split,
    require_every_class,
    require_unseen,
    split_dataset,
)
from services.trainer.study import Study, best_run, run_study
from services.trainer.tools import make_tools
from shared.errors import ConflictError
from shared.models.architectures import architecture as architecture_of
from shared.models.registry import ModelRegistry, ModelVersion
from shared.settings import InferenceSettings
from shared.trainings.request import Overrides


@click.command("study")
@click.argument(
    "folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@study_options
def command(folder: Path, **given: Any) -> None:
    """Train on DIR, which has one folder a class, and measure on its test part.

    Without options: the three models of the published study, each from three seeds, on a split
    that no group of overlapping fields crosses. An interrupted study goes on where it was.
    """
    settings = InferenceSettings()
    if given["models_dir"]:
        settings = settings.model_copy(update={"models_dir": given["models_dir"]})
    protocol = Protocol(given["protocol"])
    if given["version"] is not None and not protocol.masked:
        raise ConflictError("What is trained with the scale bar visible is never exported.")
    dataset = read_dataset(folder, groups=given["groups"])
    if given["source"]:
        dataset = replace(dataset, source=given["source"])
    split = split_dataset(dataset, protocol, given["split_seed"])
    require_every_class(split)
    release = Release(
        dataset,
        split,
        settings,
        robustness=given["robustness"],
        lower_precisions=given["gate"],
        explanations=given["explanations"],
    )
    if given["models"] == ENSEMBLE:
        _export_ensemble(release, given)
        return
    _train_and_export(dataset, split, release, given)


def _train_and_export(
    dataset: Dataset, split: Split, release: Release, given: dict[str, Any]
) -> None:
    registry = ModelRegistry(release.settings.models_dir)
    for option in ("teacher", "base"):
        if given[option]:
            version = registry.resolve(given[option])
            require_unseen(split, dataset, [version])
            given = {**given, option: str(version)}
    plans = tuple(_plan(name.strip(), given) for name in given["models"].split(","))
    if given["base"]:
        require_base(registry.resolve(given["base"]), plans)
    if given["version"] is not None:
        require_servable(plans[0])
    targets = {plan.architecture: _targets(plan.architecture, release, given) for plan in plans}
    study = Study(dataset, split, plans, given["seeds"], given["work"])
    origin = Origin(dataset, split, given["work"], release.settings)
    tools = make_tools(
        release.settings, given["work"], teacher=given["teacher"], base=given["base"]
    )
    report = run_study(study, tools)
    stdout_console(width=110).print(_table(report))
    if given["json_file"]:
        given["json_file"].write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if given["html_file"]:
        given["html_file"].write_text(html_study(report), encoding="utf-8")
    if given["version"] is None:
        return
    for architecture, versions in targets.items():
        summary = report["models"][architecture]
        runs = summary["runs"] if given["every_seed"] else [best_run(summary)]
        for target, run in zip(versions, runs, strict=True):
            card = release_run(run, target, release, origin.sibling, seeds=summary["accuracy"])
            _say(target, card)


def _plan(architecture: str, given: dict[str, Any]) -> TrainingPlan:
    architecture_of(architecture)  # before another one has trained for an hour
    names = (
        "precision", "representation", "max_epochs", "images_per_class", "teacher",
        "base", "with_validation",
    )  # fmt: skip
    chosen = {name: given[name] for name in names}
    return make_plan(architecture, Recipe(given["recipe"]), **chosen, **_set(given))


def _set(given: dict[str, Any]) -> dict[str, Any]:
    """What `--set` says, of that for which there is no option."""
    values = values_of(given["overrides"])
    if own := sorted(values.keys() & given.keys()):
        raise click.BadParameter(f"there is --{own[0].replace('_', '-')}.", param_hint="--set")
    try:
        overrides = Overrides.model_validate(values)
        overrides.check_recipe(given["recipe"])
    except ValidationError as error:
        wrong = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise click.BadParameter("; ".join(wrong), param_hint="--set") from error
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--set") from error
    return overrides.model_dump(exclude_none=True)


def _targets(name: str, release: Release, given: dict[str, Any]) -> list[ModelVersion]:
    """The versions that are to be made; refused before anything is trained if one is there."""
    if given["version"] is None:
        return []
    count = len(given["seeds"]) if given["every_seed"] else 1
    numbers = range(given["version"], given["version"] + count)
    root = release.settings.models_dir / name
    targets = [ModelVersion(name, number, root / str(number)) for number in numbers]
    for target in targets:
        if target.folder.exists():
            raise ConflictError(f"{target} exists; versions never change.")
    return targets


def _export_ensemble(release: Release, given: dict[str, Any]) -> None:
    if not given["members"] or given["version"] is None:
        raise click.UsageError("An ensemble needs --members and --version.")
    if given["json_file"] or given["html_file"]:
        raise click.UsageError("--json and --html tell of models that are trained: see `evaluate`.")
    registry = ModelRegistry(release.settings.models_dir)
    members = [registry.resolve(name.strip()) for name in given["members"].split(",")]
    require_unseen(release.split, release.dataset, members)
    (target,) = _targets(ENSEMBLE, release, {**given, "every_seed": False})
    origin = Origin(release.dataset, release.split, given["work"], release.settings)
    _say(target, release_ensemble(members, target, release, origin.sibling))


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
