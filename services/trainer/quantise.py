"""The int8 form of a shipped graph, by NNCF.

Convolutions compute in int8. Dense layers stay float32: they cost next to nothing, and quantised
they move probabilities most. Where that would not pass the parity gate on labelled images, the
first convolution, which sees the pixels themselves, stays float32 too. The version is run on them
as the gate runs it, so that what is flagged for review counts here as it does there.
"""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import nncf
import numpy as np
import openvino as ov

from services.trainer.gate import compare
from services.trainer.metrics import Labels
from shared.errors import DatasetError
from shared.imaging import Pixels
from shared.models.engines.openvino_engine import GRAPH, INT8_GRAPH, INT8_WEIGHTS
from shared.models.precision import FULL
from shared.models.predictor import Predictor
from shared.models.registry import ModelVersion
from shared.settings import InferenceSettings

CALIBRATION_IMAGES = 300

_GRAPH_FILE = "model.int8.xml"
_WEIGHTS_FILE = "model.int8.bin"
_DENSE = "MatMul"
_CONVOLUTION = "Convolution"


def quantise(
    version: ModelVersion,
    calibration: Pixels,
    control: Pixels,
    labels: Labels,
    settings: InferenceSettings,
) -> dict[str, dict[str, Any]]:
    """Write a version's int8 form into its folder: the first that would pass the gate.

    Where none would, it is the last that was tried: an ensemble may use it all the same.

    Args:
        version: A version with a graph; its card is not touched.
        calibration: Training images, shape (n, 224, 224, 3), from which the ranges of activations
            are taken; 300 of them, evenly chosen.
        control: Labelled images by which the layers that stay float32 are chosen; not those of the
            gate.
        labels: Their class indices.
        settings: Of the engine.

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
    full = Predictor.load_in(FULL, version, settings).predict(control)
    for kept in _kept_in_float32(ov.Core().read_model(data)):
        written = _write(_quantise(ov.Core().read_model(data), calibration, kept), version.folder)
        artefacts = {**version.card["artefacts"], **written}
        tried = replace(version, described={**version.card, "artefacts": artefacts})
        lower = Predictor.load_in("int8", tried, settings).predict(control)
        if compare(full, lower, labels)["passed"]:
            break
    return written


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


def _write(graph: ov.Model, folder: Path) -> dict[str, dict[str, Any]]:
    """Write an int8 form, in the place of one that may be in use; what the card says of it."""
    for name in (_GRAPH_FILE, _WEIGHTS_FILE):
        (folder / name).unlink(missing_ok=True)  # weights are mapped into memory where they lie
    ov.save_model(graph, folder / _GRAPH_FILE)
    return {
        INT8_GRAPH: _describe(folder / _GRAPH_FILE),
        INT8_WEIGHTS: _describe(folder / _WEIGHTS_FILE),
    }


def _describe(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return {
        "file": path.name,
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "weights": "int8",
    }
