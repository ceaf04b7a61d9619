"""Turns a finished run, or an ensemble of versions, into a version with artefacts and card.

Every figure of a card is measured on the exported artefact, in the engine that serves it.
"""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version as package_version
from typing import Any

from services.trainer.baseline import colour_baseline
from services.trainer.code_version import code_version
from services.trainer.dataset import Dataset, label_indices, load_pixels
from services.trainer.evaluate import Part, evaluate_part
from services.trainer.export import ONNX_FILE, export_onnx
from services.trainer.precisions import add_precisions
from services.trainer.robustness import robustness
from services.trainer.splits import Split
from services.trainer.study import describe_split, load_run
from shared.clock import utc_now
from shared.models.precision import FULL
from shared.models.predictor import Predictor
from shared.models.registry import CARD, ModelVersion
from shared.settings import InferenceSettings
from shared.triage.labels import LABELS
from shared.triage.wording import DISCLAIMER, LIMITS

ENSEMBLE = "ensemble"

_SOFTWARE = ("hemotriage", "tensorflow-cpu", "keras", "onnx", "openvino", "nncf", "pillow", "numpy")


@dataclass(frozen=True)
class Release:
    """What a version is made from and measured on."""

    dataset: Dataset
    split: Split
    settings: InferenceSettings
    robustness: bool = True
    """Measure accuracy under changed stain and light too: 26 times the test part."""
    lower_precisions: bool = True
    """Make the int8 form, and ask the parity gate."""

    @property
    def masked(self) -> bool:
        """Whether the scale bar is hidden; what saw it is never released."""
        return self.split.protocol.masked


def release_run(
    run: dict[str, Any], target: ModelVersion, release: Release, *, seeds: dict[str, Any]
) -> dict[str, Any]:
    """Export a finished run as a version.

    Args:
        run: The run's record.
        target: The version that is to be; its folder is written.
        release: Data, split and settings.
        seeds: Mean and interval of all runs of the same plan, for the card.

    Returns:
        The card.

    Raises:
        ModelArtefactError: An exported graph does not agree with Keras.
    """
    model = load_run(run)
    test = load_pixels(release.split.test, masked=release.masked)
    draft = _draft(target)
    card = {
        **_describe(target, release),
        "architecture": run["plan"]["architecture"],
        "parameters": model.count_params(),
        "training": {
            **{key: run[key] for key in ("plan", "split_hash", "seconds")},
            "history": _honest_history(run),
        },
        "seeds": seeds,
        "artefacts": {"onnx": export_onnx(model, draft.folder / ONNX_FILE, test)},
    }
    fitted_on = "validation part of the split"
    if run["plan"]["with_validation"]:
        fitted_on += ", by a run of the same plan that did not train on it"
    card = _complete(card, draft, release, run["temperature"], fitted_on)
    draft.folder.rename(target.folder)
    return card


def release_ensemble(
    members: Sequence[ModelVersion], target: ModelVersion, release: Release
) -> dict[str, Any]:
    """Make a version that is the mean of other versions of the same registry.

    Returns:
        The card.
    """
    draft = _draft(target)
    card = {
        **_describe(target, release),
        "architecture": ENSEMBLE,
        "parameters": sum(member.card["parameters"] for member in members),
        "members": [{"model": str(member), "weight": 1.0} for member in members],
        "artefacts": {},
    }
    card = _complete(card, draft, release, 1.0, "nothing: its members are calibrated each")
    draft.folder.rename(target.folder)
    return card


def _draft(target: ModelVersion) -> ModelVersion:
    """An empty folder beside the target's that no registry reads, as its name is no number.

    It takes the target's place when its card is whole, so that a kill leaves no half version.
    """
    folder = target.folder.with_name(f"{target.version}.draft")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return ModelVersion(target.name, target.version, folder)


def _complete(
    card: dict[str, Any],
    target: ModelVersion,
    release: Release,
    temperature: float,
    fitted_on: str,
) -> dict[str, Any]:
    """Measure a version, and write its card."""
    card["calibration"] = {
        "method": "temperature",
        "temperature": temperature,
        "fitted_on": fitted_on,
    }
    # The card is needed to load the version, and the version to complete the card.
    _write(card, target)
    predictor = Predictor.load_in(FULL, _fresh(target), release.settings)
    split = release.split
    train, test = (load_pixels(part, masked=release.masked) for part in (split.train, split.test))
    labels = label_indices(split.test)
    measured_on = {"dataset_version": release.dataset.version, "split": describe_split(split)}
    members = [member.version.card for member in _fresh(target).members]
    part = Part(split.test, test, labels, measured_on)
    evaluation = evaluate_part(predictor, part, cards=[card, *members])
    card |= {name: evaluation.report[name] for name in ("metrics", "errors", "cost")}
    card["colour_baseline"] = colour_baseline(
        (train, label_indices(split.train)), (test, labels), split.seed
    )
    if release.robustness:
        card["robustness"] = robustness(
            lambda images: predictor.predict(images).calibrated, test, labels
        )
    _write(card, target)
    if release.lower_precisions:
        version = _fresh(target)
        add_precisions(version, split, release.settings, dataset_version=release.dataset.version)
        card = version.card
    return card


def _honest_history(run: dict[str, Any]) -> dict[str, list[float]]:
    """A run's history, without what was measured on images that trained it."""
    seen = run["plan"]["with_validation"]
    return {
        name: values
        for name, values in run["history"].items()
        if not (seen and name.startswith("val_"))
    }


def _fresh(target: ModelVersion) -> ModelVersion:
    """The version without the card that it has read before."""
    return ModelVersion(target.name, target.version, target.folder)


def _describe(target: ModelVersion, release: Release) -> dict[str, Any]:
    dataset = release.dataset
    return {
        "name": target.name,
        "version": target.version,
        "labels": [str(label) for label in LABELS],
        "input": "uint8 RGB, (n, 224, 224, 3), scale bar masked",
        "created_at": utc_now().isoformat(timespec="seconds"),
        "intended_use": DISCLAIMER,
        "limits": LIMITS,
        "data": {**dataset.source, "version": dataset.version, "counts": dataset.counts()},
        "split": describe_split(release.split),
        "code": code_version(),
        "software": {
            "python": platform.python_version(),
            **{name: package_version(name) for name in _SOFTWARE},
        },
    }


def _write(card: dict[str, Any], target: ModelVersion) -> None:
    (target.folder / CARD).write_text(json.dumps(card, indent=1) + "\n")
