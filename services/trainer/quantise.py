"""The int8 form of a shipped graph, by NNCF.

Convolutions compute in int8. Dense layers stay float32: they cost next to nothing, and quantised
they move probabilities most. Where that is too much of a change on labelled images, the first
convolution, which sees the pixels themselves, stays float32 too.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

import nncf
import numpy as np
import openvino as ov

from services.trainer.export import graph_probabilities
from services.trainer.gate import compare
from services.trainer.metrics import Labels
from shared.errors import DatasetError
from shared.imaging import Pixels
from shared.models.engines.openvino_engine import GRAPH, INT8_GRAPH, INT8_WEIGHTS
from shared.models.prediction import Prediction
from shared.models.registry import ModelVersion
from shared.triage.calibration import Calibration

CALIBRATION_IMAGES = 300

_GRAPH_FILE = "model.int8.xml"
_WEIGHTS_FILE = "model.int8.bin"
_DENSE = "MatMul"
_CONVOLUTION = "Convolution"


def quantise(
    version: ModelVersion, calibration: Pixels, control: Pixels, labels: Labels
) -> dict[str, dict[str, Any]]:
    """Write a version's int8 form into its folder; the last that was tried where none is good.

    Args:
        version: A version with a graph; its card is not touched.
        calibration: Training images, shape (n, 224, 224, 3), from which the ranges of activations
            are taken; 300 of them, evenly chosen.
        control: Labelled images by which the layers that stay float32 are chosen; not those of the
            gate.
        labels: Their class indices.

    Returns:
        What the card says of the two files, by their kind.

    Raises:
        DatasetError: There are no images.
        ModelArtefactError: The graph is missing or altered.
    """
    if not len(calibration) or not len(control):
        raise DatasetError("int8 is calibrated and controlled on images; there are none.")
    nncf.set_log_level(logging.ERROR)
    # Read from a file, a graph keeps inputs that lead nowhere.
    data = version.artefact_path(GRAPH).read_bytes()
    full = _predict(ov.Core().read_model(data), control, version.calibration)
    for kept in _kept_in_float32(ov.Core().read_model(data)):
        quantised = _quantise(ov.Core().read_model(data), calibration, kept)
        lower = _predict(quantised, control, version.calibration)
        if compare(full, lower, labels)["passed"]:
            break
    ov.save_model(quantised, version.folder / _GRAPH_FILE)
    return {
        INT8_GRAPH: _describe(version.folder / _GRAPH_FILE),
        INT8_WEIGHTS: _describe(version.folder / _WEIGHTS_FILE),
    }


def _kept_in_float32(graph: ov.Model) -> list[nncf.IgnoredScope]:
    """What is not quantised, fewest layers first."""
    first = next(
        node.get_friendly_name()
        for node in graph.get_ordered_ops()
        if node.get_type_name() == _CONVOLUTION
    )
    return [
        nncf.IgnoredScope(types=[_DENSE], names=names, validate=False) for names in ([], [first])
    ]


def _quantise(graph: ov.Model, calibration: Pixels, kept: nncf.IgnoredScope) -> ov.Model:
    count = min(CALIBRATION_IMAGES, len(calibration))
    ranges = list(calibration[np.linspace(0, len(calibration) - 1, count).astype(int)])
    dataset = nncf.Dataset(ranges, lambda image: image[None])
    return nncf.quantize(graph, dataset, subset_size=count, ignored_scope=kept)


def _predict(graph: ov.Model, images: Pixels, calibration: Calibration) -> Prediction:
    raw = graph_probabilities(graph, images)
    return Prediction(raw, calibration.apply(raw))


def _describe(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return {
        "file": path.name,
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "weights": "int8",
    }
