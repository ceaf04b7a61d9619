"""Gives a version its lower precisions: the int8 form, and the gate's verdict on each."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from services.trainer.dataset import Grouping, label_indices, load_pixels, read_dataset
from services.trainer.evaluate import Part
from services.trainer.gate import ask_gate
from services.trainer.quantise import quantise
from services.trainer.splits import Protocol, Split, split_dataset
from services.trainer.study import describe_split
from shared.errors import DatasetError
from shared.models.engines import supported_precisions
from shared.models.engines.openvino_engine import INT8_GRAPH
from shared.models.precision import LOWER, Precision
from shared.models.registry import CARD, ModelVersion
from shared.settings import InferenceSettings


def add_precisions(
    version: ModelVersion,
    split: Split,
    settings: InferenceSettings,
    *,
    dataset_version: str,
    among: Collection[Precision] = LOWER,
) -> dict[str, dict[str, Any]]:
    """Ask the parity gate for the lower precisions that this machine supports.

    An int8 form that is missing is made first, from the training part, watched on the validation
    part. The gate is asked on the test part. Its verdicts go into the card; nothing else of the
    version changes.

    Args:
        version: The version; an ensemble's members have their int8 forms already.
        split: The split that the version was trained by.
        settings: Of the engine.
        dataset_version: Of the data set that was split.
        among: Of these precisions alone; the verdicts on others stay as they are.

    Returns:
        The verdicts that were given, by precision.

    Raises:
        DatasetError: A part has no images.
        ModelArtefactError: A member has no int8 form, or the graph cannot be quantised.
    """
    supported = [p for p in supported_precisions(settings.engine) if p in among]
    if "int8" in supported and not version.members and not _has_int8(version):
        _write(version, artefacts={**version.card["artefacts"], **_quantise(version, split)})
    part = _test_part(split, dataset_version)
    found: dict[str, dict[str, Any]] = {p: ask_gate(p, version, part, settings) for p in supported}
    known = version.card.get("precisions", {})
    verdicts = {**known.get(settings.engine, {}), **found}
    _write(version, precisions={**known, settings.engine: verdicts})
    return found


def ask_for_version(
    version: ModelVersion,
    folder: Path,
    settings: InferenceSettings,
    *,
    groups: Grouping,
    among: Collection[Precision] = LOWER,
) -> dict[str, dict[str, Any]]:
    """The same for a version that is there already, from the images that it was trained from.

    Args:
        version: The version.
        folder: One folder a class.
        settings: Of the engine.
        groups: Where groups of overlapping fields come from, as in `read_dataset`.
        among: As in `add_precisions`.

    Raises:
        DatasetError: The images are not those that the version was trained from.
    """
    dataset = read_dataset(folder, groups=groups)
    of_card = version.card["split"]
    split = split_dataset(dataset, Protocol(of_card["protocol"]), of_card["seed"])
    if split.hash != of_card["hash"]:
        raise DatasetError(f"{folder} does not give the split that {version} was trained by.")
    return add_precisions(version, split, settings, dataset_version=dataset.version, among=among)


def _has_int8(version: ModelVersion) -> bool:
    return INT8_GRAPH in version.card["artefacts"]


def _quantise(version: ModelVersion, split: Split) -> dict[str, dict[str, Any]]:
    calibration, control = (load_pixels(part) for part in (split.train, split.validation))
    return quantise(version, calibration, control, label_indices(split.validation))


def _test_part(split: Split, dataset_version: str) -> Part:
    measured_on = {"dataset_version": dataset_version, "split": describe_split(split)}
    return Part(split.test, load_pixels(split.test), label_indices(split.test), measured_on)


def _write(version: ModelVersion, **changes: Any) -> None:
    """Change parts of a card; it is replaced as a whole, so that a kill leaves the old one."""
    card = {**version.card, **changes}
    fresh = version.folder / f"{CARD}.new"
    fresh.write_text(json.dumps(card, indent=1) + "\n")
    fresh.replace(version.folder / CARD)
    version.card.update(changes)
