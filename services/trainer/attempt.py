"""One attempt at a training run, in the child process: from its row to its record."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import tensorflow as tf

from services.trainer.dataset import Dataset, read_dataset
from services.trainer.dataset_store import fetch_dataset
from services.trainer.finish import RECORD, REFUSED, run_folder
from services.trainer.folders import DATASETS
from services.trainer.groups import write_whole
from services.trainer.lineage import trained_on_validation
from services.trainer.plan import Recipe, make_plan
from services.trainer.register import make_version
from services.trainer.reports import Reports
from services.trainer.splits import Protocol, Split, require_every_class, split_dataset
from services.trainer.study import Study, run_study
from services.trainer.tools import make_tools
from services.trainer.tracking import Tracker, parts_of
from shared.datasets.queries import get_dataset
from shared.db.session import create_database, create_sessions
from shared.errors import PermanentError
from shared.models.registry import ModelVersion
from shared.models.restore import restore_keras
from shared.registry.catalogue import Catalogue
from shared.settings import Settings
from shared.storage.s3 import S3Store
from shared.trainings.queue import get_training
from shared.trainings.request import SPLIT_SEED
from shared.trainings.states import TrainingRun


def train_run(run_id: uuid.UUID, settings: Settings, reports: Reports) -> None:
    """Train a run that was claimed, or go on with it; weights and record stay in its folder.

    Args:
        run_id: The run.
        settings: The servers, the models and the work folder.
        reports: Are told how far it is.

    Raises:
        DatasetError: The data set is too small to be split.
        TrainingDivergedError: The loss is no longer a number.
        HemotriageError: The data set, a base or pretrained weights cannot be had.
    """
    run, dataset, base = _fetched(run_id, settings, reports)
    split = _split(dataset, Protocol(run.protocol))
    reports.log(f"{len(dataset.samples)} images: {_counts(split)}")
    folder = run_folder(settings.trainer_work, run_id)
    plan = make_plan(run.architecture, Recipe(run.recipe), **run.overrides)
    study = Study(dataset, split, (plan,), run.seeds, folder)
    tracker = Tracker(reports, parts_of(study), plan.max_epochs)
    tracker.retell()
    tools = replace(
        make_tools(settings, settings.trainer_work, teacher=plan.teacher),
        base=None if base is None else partial(restore_keras, base),
        progress_of=tracker.progress_of,
    )
    report = run_study(study, tools)
    tracker.trained()
    reports.log(f"measured on {len(split.test)} images")
    report["base"] = None if base is None else _describe_base(base, split)
    report |= _registrable(run, report, study, settings, reports)
    write_whole(folder / RECORD, json.dumps(_without_paths(report)))


def _registrable(
    run: TrainingRun,
    report: dict[str, Any],
    study: Study,
    settings: Settings,
    reports: Reports,
) -> dict[str, Any]:
    """Make the run's version; what the record says where there can be none."""
    try:
        make_version(run, report, study, settings, reports.log)
    except PermanentError as error:  # what was trained and measured is kept all the same
        reports.log(f"no version: {error}")
        return {REFUSED: {"code": error.code, "detail": str(error)}}
    return {}


def _fetched(
    run_id: uuid.UUID, settings: Settings, reports: Reports
) -> tuple[TrainingRun, Dataset, ModelVersion | None]:
    """The run, its images and its base; training then takes hours, and needs no server."""
    database = create_database(settings, pool_size=1)
    sessions = create_sessions(database)
    run = get_training(sessions, run_id)
    reports.begin(run.attempts, _device())
    storage = S3Store(settings, pool_size=1)
    folder = settings.trainer_work / DATASETS
    dataset = read_dataset(fetch_dataset(storage, sessions, run.dataset_id, folder))
    name = get_dataset(sessions, run.dataset_id).name
    base = _base(run, Catalogue(settings, sessions, storage))
    database.dispose()
    source = {"name": name or "not stated", "dataset_id": str(run.dataset_id)}
    return run, replace(dataset, source=source), base


def _base(run: TrainingRun, catalogue: Catalogue) -> ModelVersion | None:
    if run.base is None:
        return None
    found = catalogue.resolve(run.base)
    return catalogue.fetch(found.name, found.version)


def _device() -> str:
    """The first GPU that TensorFlow sees, or the CPU."""
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return "cpu"
    for gpu in gpus:
        # Or TensorFlow takes all of its memory, and a worker on it has none left.
        tf.config.experimental.set_memory_growth(gpu, enable=True)
    name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "gpu")
    return str(name)


def _split(dataset: Dataset, protocol: Protocol) -> Split:
    split = split_dataset(dataset, protocol, SPLIT_SEED)
    require_every_class(split)
    return split


def _counts(split: Split) -> str:
    parts = {"train": split.train, "validation": split.validation, "test": split.test}
    return ", ".join(f"{len(part)} {name}" for name, part in parts.items())


def _describe_base(base: ModelVersion, split: Split) -> dict[str, Any]:
    """Where training began, and whether that version has seen what this run is measured on."""
    is_same = base.card["split"]["hash"] == split.hash
    return {
        "model": str(base),
        "test_unseen": is_same,
        "validation_unseen": is_same and not trained_on_validation(base),
    }


def _without_paths(report: dict[str, Any]) -> dict[str, Any]:
    """The record says of each run its folder within that of the training."""
    for summary in report["models"].values():
        for run in summary["runs"]:
            run["folder"] = Path(run["folder"]).name
    return report
