"""A study: architectures trained from several seeds on one split, measured on its test part.

Nothing is chosen by the test part: the study's recipe keeps the epoch, and every study the run,
with the least validation loss.
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from services.trainer.baseline import colour_baseline
from services.trainer.calibrate import fit_calibration
from services.trainer.code_version import code_version
from services.trainer.dataset import Dataset, label_indices, load_pixels
from services.trainer.evaluate import SPEED_BATCH, measure_speed
from services.trainer.groups import write_whole
from services.trainer.loop import forget_checkpoint, seconds_before
from services.trainer.metrics import measure, proportion
from services.trainer.plan import TrainingPlan
from services.trainer.splits import Split
from services.trainer.train import Tools, TrainedModel, load_images, predict, record, train
from shared.models.architectures import build
from shared.models.prediction import Prediction
from shared.triage.calibration import Calibration

RUN = "run.json"
WEIGHTS = "model.weights.h5"
_MIB = 1024
_OF_HASH = 8


@dataclass(frozen=True)
class Study:
    """One split and the plans that are trained on it."""

    dataset: Dataset
    split: Split
    plans: tuple[TrainingPlan, ...]
    seeds: tuple[int, ...]
    work: Path

    def run_folder(self, plan: TrainingPlan) -> Path:
        """Where a run is kept: one folder a plan and a split.

        No plan finds another's weights, and no split those that its test part may have trained.
        """
        name = f"{plan.architecture}-{self.split.protocol}-{plan.recipe}-{plan.digest}"
        return self.work / f"{name}-{self.split.hash[:_OF_HASH]}"


def run_study(study: Study, tools: Tools) -> dict[str, Any]:
    """Train and measure every plan from every seed; what is finished already is not done again.

    Returns:
        Plain data: the split, the colour-only baseline, wall time and memory, and by architecture
        the runs with their measures on the test part, and their mean accuracy.

    Raises:
        PretrainedWeightsError: Those of an architecture cannot be had; nothing was trained.
        DatasetError: A file is no usable image; nothing was trained.
    """
    started = time.monotonic()
    _require_weights(study, tools)
    _require_images(study.split)
    models = {
        plan.architecture: _summary(
            [_finished(study, replace(plan, seed=seed), tools) for seed in study.seeds]
        )
        for plan in study.plans
    }
    return {
        "data": {**study.dataset.source, "version": study.dataset.version},
        "split": describe_split(study.split),
        "colour_baseline": baseline_of(study.split),
        "models": models,
        "wall_seconds": time.monotonic() - started,
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _MIB,
        "code": code_version(),
    }


def best_run(summary: dict[str, Any]) -> dict[str, Any]:
    """The run with the least validation loss; the first where the validation part trained too."""
    runs = summary["runs"]
    seen = runs[0]["plan"]["with_validation"]
    best: dict[str, Any] = runs[0] if seen else min(runs, key=lambda run: run["validation_loss"])
    return best


def load_run(record: dict[str, Any]) -> Any:
    """The trained Keras model of a finished run."""
    model = build(record["plan"]["architecture"])
    model.load_weights(Path(record["folder"]) / WEIGHTS)
    return model


def baseline_of(split: Split) -> dict[str, Any]:
    """The colour-only baseline on a split's test part."""
    masked = split.protocol.masked
    train_part, test = (
        (load_pixels(part, masked=masked), label_indices(part))
        for part in (split.train, split.test)
    )
    return colour_baseline(train_part, test, split.seed)


def describe_split(split: Split) -> dict[str, Any]:
    """A split as plain data."""
    parts = {"train": split.train, "validation": split.validation, "test": split.test}
    return {
        "protocol": str(split.protocol),
        "seed": split.seed,
        "hash": split.hash,
        "counts": {name: len(part) for name, part in parts.items()},
    }


def _finished(study: Study, plan: TrainingPlan, tools: Tools) -> dict[str, Any]:
    """The record of a run, from disk if it is there."""
    if (kept := _kept(study, plan)) is not None:
        return kept
    folder = study.run_folder(plan)
    started = time.monotonic() - seconds_before(folder)
    trained = train(plan, study.split, folder, tools)
    trained.model.save_weights(folder / WEIGHTS)
    seconds = time.monotonic() - started
    found = {**_described(study, plan), **record(trained), "seconds": seconds}
    found |= {**_measure(trained, study, tools), "cost": _cost(trained, study, folder)}
    write_whole(folder / RUN, json.dumps(found, indent=1))
    forget_checkpoint(folder)  # not before: measuring may take longer than training
    _say(found)
    return {**found, "folder": str(folder)}


def _kept(study: Study, plan: TrainingPlan) -> dict[str, Any] | None:
    """The record of a run that is finished."""
    folder = study.run_folder(plan)
    if not (folder / RUN).is_file():
        return None
    found: dict[str, Any] = json.loads((folder / RUN).read_text())
    if "temperature" in found:  # as earlier releases said it
        temperature = found.pop("temperature")
        found["calibration"] = {"method": "temperature", "temperature": temperature}
    is_the_same = all(found[key] == value for key, value in _described(study, plan).items())
    return {**found, "folder": str(folder)} if is_the_same else None


def _described(study: Study, plan: TrainingPlan) -> dict[str, Any]:
    return {"plan": plan.as_dict(), "split_hash": study.split.hash}


def _require_weights(study: Study, tools: Tools) -> None:
    """Find out that pretrained weights are missing before another network trains for an hour."""
    if tools.base is not None:
        return
    for plan in study.plans:
        runs = (replace(plan, seed=seed) for seed in study.seeds)
        if any(_kept(study, run) is None for run in runs):
            build(plan.architecture, tools.pretrained)


def _require_images(split: Split) -> None:
    """Find out that a file is damaged before a network trains; the test part is read last.

    What trains, and what is watched in training, is read before the first epoch anyway.
    """
    load_pixels(split.test, masked=split.protocol.masked)


def sibling_run(study: Study, plan: TrainingPlan, tools: Tools) -> dict[str, Any]:
    """The run of the same plan and seed that left the validation part unseen.

    It tells what a version that trained on that part would say of new images.
    """
    return _finished(study, replace(plan, with_validation=False), tools)


def _measure(trained: TrainedModel, study: Study, tools: Tools) -> dict[str, Any]:
    """Measure on the test part, calibrated on images that did not train it."""
    masked = study.split.protocol.masked
    split = study.split
    if trained.plan.with_validation:
        calibration = sibling_run(study, trained.plan, tools)["calibration"]
    else:
        seen = predict(trained.model, trained.plan, split.validation, tools, masked=masked)
        groups = [sample.group for sample in split.validation]
        calibration = fit_calibration(label_indices(split.validation), seen, groups)
    test = predict(trained.model, trained.plan, split.test, tools, masked=masked)
    calibrated = Calibration.from_card(calibration).apply(test)
    labels = label_indices(split.test)
    return {
        "validation_loss": trained.validation_loss,
        "calibration": calibration,
        "metrics": measure(labels, Prediction(test, calibrated)),
        "wrong": _wrong(split, calibrated, labels),
    }


def _cost(trained: TrainedModel, study: Study, folder: Path) -> dict[str, Any]:
    """Size and speed of a run's whole network, which is in float32 whatever trained it."""
    test, masked = study.split.test[:SPEED_BATCH], study.split.protocol.masked
    images = load_images(test, trained.plan, masked=masked)
    return {
        "parameters": trained.model.count_params(),
        "weights_bytes": (folder / WEIGHTS).stat().st_size,
        "speed": measure_speed(trained.model.predict_on_batch, images),
    }


def _wrong(split: Split, calibrated: NDArray[np.float64], labels: NDArray[np.int64]) -> list[str]:
    rows = np.flatnonzero(calibrated.argmax(axis=1) != labels)
    return [f"{split.test[row].label}/{split.test[row].path.name}" for row in rows]


def _summary(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The runs of one architecture; the interval is that of their mean accuracy on as many images.

    More seeds tell no more of other images: the interval's width is that of one test part.
    """
    accuracies = [run["metrics"]["accuracy"] for run in runs]
    images = accuracies[0]["of"]
    counts = [accuracy["count"] for accuracy in accuracies]
    return {
        "runs": list(runs),
        "accuracy": {
            "mean": float(np.mean(counts)) / images,
            "lowest": min(counts) / images,
            "highest": max(counts) / images,
            "wilson95": proportion(round(float(np.mean(counts))), images)["wilson95"],
        },
    }


def _say(run: dict[str, Any]) -> None:
    accuracy = run["metrics"]["accuracy"]
    Console(stderr=True).print(
        f"{run['plan']['architecture']} seed {run['plan']['seed']}: validation loss "
        f"{run['validation_loss']:.4f}, {accuracy['count']} of {accuracy['of']} test images right"
    )
