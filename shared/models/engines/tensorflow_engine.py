"""The reference engine, and the GPU's: TensorFlow on the Keras artefact, in float32."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from shared.imaging import INPUT_SIZE, Pixels
from shared.models.engines import FULL_PRECISION
from shared.models.registry import ModelVersion
from shared.settings import EngineName, InferenceSettings


class TensorFlowEngine:
    """See `shared.models.engines.Engine`."""

    name: EngineName = "tensorflow"
    precision = FULL_PRECISION

    def __init__(self, version: ModelVersion) -> None:
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
        model = keras.models.load_model(version.artefact_path("keras"))
        self.artefact_sha256 = version.sha256("keras")
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
