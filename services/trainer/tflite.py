"""Exports a model as TensorFlow Lite for small devices, in float32 or in int8."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from services.trainer.parity import Parity, Weights, keras_probabilities, write_artefact
from shared.errors import DatasetError
from shared.imaging import Pixels

LEAST_CALIBRATION_IMAGES = 100
MOST_CALIBRATION_IMAGES = 300
"""More change the measured ranges little and cost a float32 run each."""


def export_tflite(
    model: keras.Model, path: Path, images: Pixels, *, calibration: Pixels | None = None
) -> dict[str, Any]:
    """Write TensorFlow Lite; input stays uint8 RGB, output float32 probabilities.

    Args:
        model: The trained model.
        path: The file.
        images: Where parity is checked, shape (n, 224, 224, 3).
        calibration: Makes an int8 file, all of whose layers compute in integers; from these
            training images, shape (n, 224, 224, 3), their ranges are measured. At most
            `MOST_CALIBRATION_IMAGES` of them are taken, evenly spread.

    Returns:
        What `write_artefact` returns.

    Raises:
        DatasetError: There are too few calibration images.
        ModelArtefactError: The file differs from Keras by more than is tolerated.
    """
    data = _convert(model, calibration)
    weights: Weights = "float32" if calibration is None else "int8"
    parity = Parity.between(keras_probabilities(model, images), tflite_probabilities(data, images))
    return write_artefact(path, data, weights, parity)


def tflite_probabilities(data: bytes, images: Pixels) -> NDArray[np.float32]:
    """What LiteRT gives for images of shape (n, 224, 224, 3): shape (n, 4)."""
    interpreter = Interpreter(model_content=data, num_threads=os.cpu_count())
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    target = interpreter.get_output_details()[0]["index"]
    probabilities = []
    for image in images:
        interpreter.set_tensor(source, image[np.newaxis])
        interpreter.invoke()
        probabilities.append(interpreter.get_tensor(target)[0])
    return np.stack(probabilities)


def _convert(model: keras.Model, calibration: Pixels | None) -> bytes:
    with TemporaryDirectory() as folder:
        # `TFLiteConverter.from_keras_model` takes the same way, but prints what it saves.
        model.export(folder, format="tf_saved_model", verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if calibration is not None:
            chosen = _spread(calibration)
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: _one_by_one(chosen)
            # Without float kernels to fall back on, a layer without an int8 one is an error.
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        data: bytes = converter.convert()
    return data


def _spread(images: Pixels) -> Pixels:
    if len(images) < LEAST_CALIBRATION_IMAGES:
        raise DatasetError(
            f"An int8 export needs {LEAST_CALIBRATION_IMAGES} calibration images or more; "
            f"there are {len(images)}."
        )
    count = min(len(images), MOST_CALIBRATION_IMAGES)
    chosen: Pixels = images[np.linspace(0, len(images) - 1, count).astype(int)]
    return chosen


def _one_by_one(images: Pixels) -> Iterator[list[Pixels]]:
    for image in images:
        yield [image[np.newaxis]]
