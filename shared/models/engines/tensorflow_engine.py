"""The reference engine, and the GPU's: TensorFlow on the Keras model, in float32."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from shared.imaging import INPUT_SIZE, Pixels
from shared.models.engines import FULL_PRECISION
from shared.models.registry import ModelVersion
from shared.models.restore import restore_keras, restored_from
from shared.settings import EngineName, InferenceSettings


class TensorFlowEngine:
    """See `shared.models.engines.Engine`."""

    name: EngineName = "tensorflow"
    precision = FULL_PRECISION

    def __init__(self, version: ModelVersion) -> None:
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
        model = restore_keras(version)
        self.artefact_sha256 = version.sha256(restored_from(version))
        self._call = tf.function(
            lambda images: model(images, training=False),
            input_signature=[tf.TensorSpec((None, INPUT_SIZE, INPUT_SIZE, 3), tf.uint8)],
        )

    def predict(self, images: Pixels) -> NDArray[np.float32]:
        """See `Engine.predict`."""
        probabilities: NDArray[np.float32] = self._call(images).numpy()
        return probabilities


def create(version: ModelVersion, settings: InferenceSettings) -> TensorFlowEngine:
    """Load a version; the device is TensorFlow's choice."""
    del settings
    return TensorFlowEngine(version)
