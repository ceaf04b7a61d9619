"""Gives a version its lower precisions: the int8 form, and the gate's verdict on each."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from services.trainer.cards import update_card
from services.trainer.dataset import label_indices, load_pixels
from services.trainer.gate import ask_gate
from services.trainer.held_out import held_out
from services.trainer.quantise import quantise
from services.trainer.splits import Split
from shared.models.engines import supported_precisions
from shared.models.engines.openvino_engine import INT8_GRAPH
from shared.models.precision import LOWER, Precision
from shared.models.registry import ModelVersion
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
        update_card(
            version, artefacts={**version.card["artefacts"], **_quantise(version, split, settings)}
        )
    part = held_out(split, dataset_version)
    found: dict[str, dict[str, Any]] = {p: ask_gate(p, version, part, settings) for p in supported}
    known = version.card.get("precisions", {})
    verdicts = {**known.get(settings.engine, {}), **found}
    update_card(version, precisions={**known, settings.engine: verdicts})
    return found


def _has_int8(version: ModelVersion) -> bool:
    return INT8_GRAPH in version.card["artefacts"]


def _quantise(
    version: ModelVersion, split: Split, settings: InferenceSettings
) -> dict[str, dict[str, Any]]:
    calibration, control = (load_pixels(part) for part in (split.train, split.validation))
    labels = label_indices(split.validation)
    return quantise(version, calibration, control, labels, settings)
