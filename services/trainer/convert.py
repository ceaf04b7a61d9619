"""A shipped version as one file in another format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from services.trainer.export import export_keras, export_onnx, onnx_probabilities
from services.trainer.parity import Parity, Weights, keras_probabilities, write_artefact
from services.trainer.tflite import export_tflite
from shared.errors import ConflictError
from shared.imaging import Pixels
from shared.models.formats import Format
from shared.models.registry import ModelVersion
from shared.models.restore import restore_keras


def convert(version: ModelVersion, target: Format, path: Path, images: Pixels) -> dict[str, Any]:
    """Write a version in a format, if it then answers as the version's Keras model does.

    Args:
        version: The version.
        target: The format; what the version ships in it is copied and not made again.
        path: The file.
        images: Where parity is checked, and what int8 ranges are measured on; shape
            (n, 224, 224, 3).

    Returns:
        What `services.trainer.parity.write_artefact` returns.

    Raises:
        ConflictError: The version is an ensemble.
        DatasetError: There are too few images for int8.
        ModelArtefactError: The version's own files are no good, or parity is not kept.
    """
    if version.members:
        members = ", ".join(str(member.version) for member in version.members)
        raise ConflictError(f"{version} is an ensemble; export its members, one by one: {members}.")
    model = restore_keras(version)
    match target:
        case Format.KERAS:
            return export_keras(model, path, images)
        case Format.ONNX:
            return _onnx(version, model, path, images, "float32")
        case Format.ONNX_F16:
            return _onnx(version, model, path, images, "float16")
        case Format.TFLITE:
            return export_tflite(model, path, images)
        case Format.TFLITE_INT8:
            return export_tflite(model, path, images, calibration=images)


def _onnx(
    version: ModelVersion, model: keras.Model, path: Path, images: Pixels, weights: Weights
) -> dict[str, Any]:
    shipped = version.card["artefacts"].get("onnx", {})
    # The card of a version whose weights are all float32 may not say so.
    if shipped.get("weights", "float32") != weights:
        return export_onnx(model, path, images, precisions=(weights,))
    data = version.artefact_path("onnx").read_bytes()
    reference = keras_probabilities(model, images)
    return write_artefact(
        path, data, weights, Parity.between(reference, onnx_probabilities(data, images))
    )
