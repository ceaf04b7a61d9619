"""Exports a trained model as a version: `model.keras`, `model.onnx` and `card.json`."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
from numpy.typing import NDArray

from shared.errors import ModelArtefactError
from shared.imaging import INPUT_SIZE, Pixels

ARTEFACTS = {"keras": "model.keras", "onnx": "model.onnx"}
PARITY_TOLERANCE = 1e-4
"""Largest difference of a probability between an artefact and Keras on the same image."""


def export_artefacts(model: keras.Model, folder: Path) -> dict[str, dict[str, Any]]:
    """Write the artefacts; returns file name, SHA-256 and size in bytes of each.

    The ONNX graph takes batches of any size under the input name `image`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder / ARTEFACTS["keras"])
    # Keras exports only a graph that has run once.
    model(np.zeros((1, INPUT_SIZE, INPUT_SIZE, 3), dtype=np.uint8), training=False)
    model.export(str(folder / ARTEFACTS["onnx"]), format="onnx", verbose=False)
    onnx.checker.check_model(str(folder / ARTEFACTS["onnx"]))
    return {kind: _describe(folder / name) for kind, name in ARTEFACTS.items()}


def _describe(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return {"file": path.name, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def check_parity(
    model: keras.Model, images: Pixels, exported: NDArray[np.float32]
) -> dict[str, Any]:
    """Compare an artefact's probabilities with Keras' own on the same images.

    Args:
        model: The model as it was trained.
        images: Shape (n, 224, 224, 3).
        exported: What the artefact gives for them, shape (n, 4).

    Raises:
        ModelArtefactError: They differ by more than `PARITY_TOLERANCE` or in a label.
    """
    reference = model.predict(images, batch_size=32, verbose=0)
    difference = float(np.abs(reference - exported).max())
    same = bool((reference.argmax(axis=1) == exported.argmax(axis=1)).all())
    if difference > PARITY_TOLERANCE or not same:
        raise ModelArtefactError(f"The exported graph differs from Keras by {difference:.2e}.")
    return {"images": len(images), "largest_difference": difference, "same_labels": same}
