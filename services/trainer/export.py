"""Exports a trained model as ONNX, which a version ships, or as a Keras file."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
import numpy as np
import onnx
import openvino as ov
from numpy.typing import NDArray

from services.trainer.onnx_graph import to_onnx
from services.trainer.onnx_weights import halve_weights
from services.trainer.parity import (
    TOLERANCES,
    Parity,
    Weights,
    keras_probabilities,
    write_artefact,
)
from shared.imaging import Pixels
from shared.models.precision import FULL

ONNX_FILE = "model.onnx"
_KERAS_FILE = "model.keras"
_BATCH = 16


def export_keras(model: keras.Model, path: Path, images: Pixels) -> dict[str, Any]:
    """Write `.keras`; parity is that of the file as it loads again."""
    with TemporaryDirectory() as folder:
        saved = Path(folder) / _KERAS_FILE
        model.save(saved)
        data, loaded = saved.read_bytes(), keras.models.load_model(saved)
    parity = Parity.between(keras_probabilities(model, images), keras_probabilities(loaded, images))
    return write_artefact(path, data, "float32", parity)


def export_onnx(
    model: keras.Model,
    path: Path,
    images: Pixels,
    *,
    precisions: tuple[Weights, ...] = ("float16", "float32"),
) -> dict[str, Any]:
    """Write ONNX, which takes batches of any size under the input name `image`.

    Args:
        model: The trained model.
        path: The file.
        images: Where parity is checked, shape (n, 224, 224, 3).
        precisions: Of the weights, best first; the first one that keeps parity is written.

    Raises:
        ModelArtefactError: None keeps parity.
    """
    graph = to_onnx(model)
    reference = keras_probabilities(model, images)
    for weights in precisions:
        stored = halve_weights(graph) if weights == "float16" else graph
        onnx.checker.check_model(stored, full_check=True)
        data = stored.SerializeToString()
        parity = Parity.between(reference, onnx_probabilities(data, images))
        if parity.within(TOLERANCES[weights]):
            break
    return write_artefact(path, data, weights, parity)


def onnx_probabilities(graph: bytes, images: Pixels) -> NDArray[np.float32]:
    """What OpenVINO gives for images of shape (n, 224, 224, 3), in float32: shape (n, 4)."""
    return graph_probabilities(ov.Core().read_model(graph), images)


def graph_probabilities(graph: ov.Model, images: Pixels) -> NDArray[np.float32]:
    """The same of a graph that is read already; what it holds in int8 is computed in int8."""
    compiled = ov.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": FULL})
    batches = (images[i : i + _BATCH] for i in range(0, len(images), _BATCH))
    return np.concatenate([compiled(np.ascontiguousarray(batch))[0] for batch in batches])
