"""Turns a finished run, or an ensemble of versions, into a version with artefacts and card.

Every figure of a card is measured on the exported artefact, in the engine that serves it.
"""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from typing import Any

from services.trainer.assurance import OWN, SIBLINGS, Sibling, assure
from services.trainer.baseline import colour_baseline
from services.trainer.cards import update_card
from services.trainer.cases import add_cases
from services.trainer.code_version import code_version
from services.trainer.dataset import Dataset, label_indices, load_pixels
from services.trainer.evaluate import Part, decide_all, evaluate_part, list_errors
from services.trainer.export import ONNX_FILE, export_onnx
from services.trainer.faithfulness import IMAGES_PER_CLASS, faithfulness
from services.trainer.held_out import held_out
from services.trainer.lineage import ENSEMBLE
from services.trainer.metrics import measure_review
from services.trainer.precisions import add_precisions
from services.trainer.robustness import robustness
from services.trainer.siblings import Origin
from services.trainer.splits import Split
from services.trainer.stored_arrays import remove_unnamed
from services.trainer.study import describe_split, load_run
from shared import __version__
from shared.clock import utc_now
from shared.models.likeness import REFERENCE
from shared.models.precision import FULL
from shared.models.predictor import Predictor
from shared.models.registry import CARD, ModelVersion
from shared.monitoring.measures import reference_of
from shared.settings import InferenceSettings
from shared.triage.labels import LABELS
from shared.triage.wording.english import ENGLISH

_SOFTWARE = (
    "tensorflow-cpu",
    "tensorflow",
    "keras",
    "onnx",
    "openvino",
    "nncf",
    "pillow",
    "numpy",
)


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
    explanations: bool = True
    """Measure how faithful explanations are, and keep the training images as cases."""

    @property
    def masked(self) -> bool:
        """Whether the scale bar is hidden; what saw it is never released."""
        return self.split.protocol.masked


def release_run(
    run: dict[str, Any],
    target: ModelVersion,
    release: Release,
    sibling: Sibling,
    *,
    seeds: dict[str, Any],
) -> dict[str, Any]:
    """Export a finished run as a version.

    Args:
        run: The run's record.
        target: The version that is to be; its folder is written.
        release: Data, split and settings.
        sibling: Asked where the run trained on the validation part.
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
    fitted_on = SIBLINGS if run["plan"]["with_validation"] else OWN
    calibration = {**run["calibration"], "fitted_on": fitted_on}
    card = _complete(card, draft, release, calibration, sibling)
    draft.folder.rename(target.folder)
    return card


def release_ensemble(
    members: Sequence[ModelVersion], target: ModelVersion, release: Release, sibling: Sibling
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
    calibration = {
        "method": "temperature",
        "temperature": 1.0,
        "fitted_on": "nothing: its members are calibrated each",
    }
    card = _complete(card, draft, release, calibration, sibling)
    draft.folder.rename(target.folder)
    return card


def assure_again(version: ModelVersion, origin: Origin) -> dict[str, Any]:
    """Fit and measure anew what lets a version's results be doubted; nothing else changes.

    Verdicts on lower precisions are of the thresholds of before: the gate is to be asked again.

    Returns:
        What `services.trainer.metrics.measure_review` says of the held-out part.
    """
    split, settings = origin.split, origin.settings
    update_card(version, **assure(version, split, settings, origin.sibling))
    part = held_out(split, origin.dataset.version)
    predictor = Predictor.load_in(FULL, version, settings)
    results = decide_all(predictor, predictor.predict(part.images), part.qualities)
    review = measure_review(part.labels, results)
    errors = list_errors(part, results)
    update_card(version, review=review, errors=errors, monitoring=reference_of(results))
    remove_unnamed(version, REFERENCE)
    return review


def explain_again(
    version: ModelVersion, origin: Origin, *, images_per_class: int = IMAGES_PER_CLASS
) -> dict[str, Any]:
    """Measure anew how faithful explanations are, and keep the cases; nothing else changes.

    Args:
        version: The version.
        origin: What it was trained from.
        images_per_class: Held-out images a class, at most.

    Returns:
        What `services.trainer.faithfulness.faithfulness` says of the held-out part.
    """
    part = held_out(origin.split, origin.dataset.version)
    return _explain(version, origin.split, part, origin.settings, images_per_class)


def _explain(
    version: ModelVersion,
    split: Split,
    part: Part,
    settings: InferenceSettings,
    images_per_class: int,
) -> dict[str, Any]:
    found = faithfulness(version, part, settings, images_per_class=images_per_class)
    update_card(version, explanation=found)
    add_cases(version, split, part, settings)
    return found


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
    calibration: dict[str, Any],
    sibling: Sibling,
) -> dict[str, Any]:
    """Measure a version, and write its card."""
    # The card is needed to load the version, and the version to complete the card.
    _write({**card, "calibration": calibration}, target)
    split, version = release.split, _fresh(target)
    update_card(version, **assure(version, split, release.settings, sibling))
    predictor = Predictor.load_in(FULL, version, release.settings)
    part = held_out(split, release.dataset.version)
    members = [member.version.card for member in version.members]
    evaluation = evaluate_part(predictor, part, cards=[version.card, *members])
    colours = load_pixels(split.train), label_indices(split.train)
    update_card(
        version,
        **{name: evaluation.report[name] for name in ("metrics", "review", "errors", "cost")},
        monitoring=reference_of(evaluation.results),
        colour_baseline=colour_baseline(colours, (part.images, part.labels), split.seed),
    )
    if release.robustness:
        found = robustness(
            lambda images: predictor.predict(images).calibrated, part.images, part.labels
        )
        update_card(version, robustness=found)
    if release.explanations:
        _explain(version, split, part, release.settings, IMAGES_PER_CLASS)
    if release.lower_precisions:
        add_precisions(version, split, release.settings, dataset_version=release.dataset.version)
    return version.card


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
        "intended_use": ENGLISH.disclaimer,
        "limits": ENGLISH.limits,
        "data": {**dataset.source, "version": dataset.version, "counts": dataset.counts()},
        "split": describe_split(release.split),
        "code": code_version(),
        "software": {
            "python": platform.python_version(),
            "hemotriage": __version__,
            **_installed(),
        },
    }


def _installed() -> dict[str, str]:
    """Versions of what made it; TensorFlow goes by one name or the other."""
    found = {}
    for name in _SOFTWARE:
        with suppress(PackageNotFoundError):
            found[name] = package_version(name)
    return found


def _write(card: dict[str, Any], target: ModelVersion) -> None:
    (target.folder / CARD).write_text(json.dumps(card, indent=1) + "\n")
