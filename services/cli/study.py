"""`hemotriage study`: what can be trained is told from what cannot, before anything is."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from services.cli.overrides import values_of
from services.cli.study_options import study_options
from services.trainer.dataset import Dataset, read_dataset
from services.trainer.lineage import ENSEMBLE, require_base
from services.trainer.plan import Recipe, TrainingPlan, make_plan
from services.trainer.representation import require_servable
from services.trainer.splits import (
    Protocol,
    Split,
    require_every_class,
    require_unseen,
    split_dataset,
)
from shared.errors import ConflictError
from shared.models.registry import ModelRegistry, ModelVersion
from shared.settings import InferenceSettings
from shared.trainings.request import Overrides

_STUDYING = "services.cli.studying"  # loads TensorFlow


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
    if given["models"] == ENSEMBLE:
        _export_ensemble(dataset, split, settings, given)
    else:
        _train_and_export(dataset, split, settings, given)


def _train_and_export(
    dataset: Dataset, split: Split, settings: InferenceSettings, given: dict[str, Any]
) -> None:
    registry = ModelRegistry(settings.models_dir)
    for option in ("teacher", "base"):
        if given[option]:
            version = registry.resolve(given[option])
            require_unseen(split, dataset, [version])
            given = {**given, option: str(version)}
    plans = tuple(_plan(name.strip(), given) for name in given["models"].split(","))
    if given["base"]:
        require_base(registry.resolve(given["base"]), plans)
    targets = {}
    if given["version"] is not None:
        require_servable(plans[0])
        count = len(given["seeds"]) if given["every_seed"] else 1
        for plan in plans:
            targets[plan.architecture] = _targets(plan.architecture, count, settings, given)
    studying = importlib.import_module(_STUDYING)
    studying.train_and_export(dataset, split, plans, targets, settings=settings, given=given)


def _plan(architecture: str, given: dict[str, Any]) -> TrainingPlan:
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


def _targets(
    name: str, count: int, settings: InferenceSettings, given: dict[str, Any]
) -> list[ModelVersion]:
    """The versions that are to be made; refused before anything is trained if one is there."""
    numbers = range(given["version"], given["version"] + count)
    root = settings.models_dir / name
    targets = [ModelVersion(name, number, root / str(number)) for number in numbers]
    for target in targets:
        if target.folder.exists():
            raise ConflictError(f"{target} exists; versions never change.")
    return targets


def _export_ensemble(
    dataset: Dataset, split: Split, settings: InferenceSettings, given: dict[str, Any]
) -> None:
    if not given["members"] or given["version"] is None:
        raise click.UsageError("An ensemble needs --members and --version.")
    if given["json_file"] or given["html_file"]:
        raise click.UsageError("--json and --html tell of models that are trained: see `evaluate`.")
    registry = ModelRegistry(settings.models_dir)
    members = [registry.resolve(name.strip()) for name in given["members"].split(",")]
    require_unseen(split, dataset, members)
    (target,) = _targets(ENSEMBLE, 1, settings, given)
    studying = importlib.import_module(_STUDYING)
    studying.export_ensemble(dataset, split, members, target, settings=settings, given=given)
