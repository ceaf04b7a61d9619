"""A study: trains an architecture from several seeds, keeps the best, exports it with its card.

The best is chosen by validation loss alone; the test part is looked at once, for the card.
"""

from __future__ import annotations

import json
import platform
from dataclasses import replace
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

import keras
from rich.console import Console

from services.trainer.baseline import colour_baseline
from services.trainer.calibrate import fit_temperature
from services.trainer.dataset import Dataset, label_indices, load_pixels
from services.trainer.export import check_parity, export_artefacts
from services.trainer.metrics import measure
from services.trainer.splits import Split
from services.trainer.train import TrainingPlan, train
from shared.clock import utc_now
from shared.models.architectures import build
from shared.models.predictor import Predictor
from shared.models.registry import CARD, ModelVersion
from shared.settings import InferenceSettings
from shared.triage.labels import LABELS
from shared.triage.wording import DISCLAIMER, LIMITS

RUN = "run.json"
_SOFTWARE = ("hemotriage", "tensorflow-cpu", "keras", "onnx", "openvino", "pillow", "numpy")


def train_seeds(plan: TrainingPlan, seeds: list[int], split: Split, work: Path) -> Path:
    """Train once a seed; returns the run with the least validation loss.

    A run that has finished before, by the same plan on the same split, is not trained again.
    """
    console = Console(stderr=True)
    losses: dict[Path, float] = {}
    for seed in seeds:
        seeded = replace(plan, seed=seed)
        run = work / f"{plan.architecture}-{split.protocol}-{seed}"
        described: dict[str, Any] = {"plan": vars(seeded), "split_hash": split.hash}
        if not _is_finished(run, described):
            console.print(f"training {run.name}")
            trained = train(seeded, split, run)
            trained.model.save_weights(run / "model.weights.h5")
            described |= {"history": trained.history, "val_loss": trained.best_validation_loss}
            (run / RUN).write_text(json.dumps(described, indent=1))
        losses[run] = json.loads((run / RUN).read_text())["val_loss"]
        console.print(f"{run.name}: validation loss {losses[run]:.4f}")
    return min(losses, key=losses.__getitem__)


def _is_finished(run: Path, described: dict[str, Any]) -> bool:
    if not (run / RUN).is_file():
        return False
    found = json.loads((run / RUN).read_text())
    return all(found.get(key) == value for key, value in described.items())


def export_version(
    run: Path, dataset: Dataset, split: Split, target: ModelVersion, settings: InferenceSettings
) -> dict[str, Any]:
    """Export a finished run as a version, with every figure of its card measured on the export.

    Raises:
        ModelArtefactError: The exported graph does not agree with Keras.
    """
    record = json.loads((run / RUN).read_text())
    model = build(record["plan"]["architecture"])
    model.load_weights(run / "model.weights.h5")
    card = _describe(model, dataset, split, target, record)
    card["artefacts"] = export_artefacts(model, target.folder)
    # The card is needed to load the export, and the export to complete the card.
    card["calibration"] = {"method": "temperature", "temperature": 1.0}
    _write(card, target)
    card |= _measure_export(
        model, split, ModelVersion(target.name, target.version, target.folder), settings
    )
    _write(card, target)
    return card


def _measure_export(
    model: keras.Model, split: Split, version: ModelVersion, settings: InferenceSettings
) -> dict[str, Any]:
    masked = split.protocol.masked
    validation, test = (load_pixels(part, masked=masked) for part in (split.validation, split.test))
    labels = label_indices(split.test)
    uncalibrated = Predictor.load(version, settings)
    raw_validation = uncalibrated.predict(validation).raw
    temperature = fit_temperature(label_indices(split.validation), raw_validation)
    calibrated = uncalibrated.calibrated_by(temperature).predict(test)
    train_part = (load_pixels(split.train, masked=masked), label_indices(split.train))
    return {
        "calibration": {
            "method": "temperature",
            "temperature": temperature,
            "fitted_on": "validation part of the split",
        },
        "parity": {"onnx": check_parity(model, test, calibrated.raw)},
        "metrics": measure(labels, calibrated.raw, calibrated.calibrated),
        "colour_baseline": colour_baseline(train_part, (test, labels), split.seed),
    }


def _describe(
    model: keras.Model, dataset: Dataset, split: Split, target: ModelVersion, record: dict[str, Any]
) -> dict[str, Any]:
    parts = {"train": split.train, "validation": split.validation, "test": split.test}
    return {
        "name": target.name,
        "version": target.version,
        "architecture": record["plan"]["architecture"],
        "parameters": model.count_params(),
        "labels": [str(label) for label in LABELS],
        "input": "uint8 RGB, (n, 224, 224, 3), scale bar masked",
        "created_at": utc_now().isoformat(timespec="seconds"),
        "intended_use": DISCLAIMER,
        "limits": LIMITS,
        "data": {**dataset.source, "version": dataset.version, "counts": dataset.counts()},
        "split": {
            "protocol": split.protocol,
            "seed": split.seed,
            "hash": split.hash,
            "counts": {name: len(part) for name, part in parts.items()},
        },
        "training": record,
        "software": {
            "python": platform.python_version(),
            **{name: package_version(name) for name in _SOFTWARE},
        },
    }


def _write(card: dict[str, Any], target: ModelVersion) -> None:
    (target.folder / CARD).write_text(json.dumps(card, indent=1) + "\n")
