"""The reference engine, and the GPU's: TensorFlow on the Keras model."""

from __future__ import annotations

import math
from collections.abc import Collection

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from shared.imaging import INPUT_SIZE, Pixels
from shared.models.architectures import build
from shared.models.engines import OnBegun
from shared.models.engines.outputs import Outputs
from shared.models.gradcam import Head
from shared.models.precision import FULL, Precision
from shared.models.registry import ModelVersion
from shared.models.restore import restore_keras, restored_from
from shared.settings import EngineName, InferenceSettings

_LOWER_POLICY = "mixed_bfloat16"
_DENSE_OF_HEAD = 2
_POOLING = (keras.layers.GlobalAveragePooling2D, keras.layers.GlobalAveragePooling1D)
_GRID_AXES = 4


class TensorFlowEngine:
    """See `shared.models.engines.Engine`."""

    name: EngineName = "tensorflow"

    def __init__(
        self,
        version: ModelVersion,
        *,
        precision: Precision = FULL,
        xla: bool = False,
        maps: bool = False,
    ) -> None:
        """Load a version's Keras model.

        Args:
            version: The version.
            precision: `f32`, or `bf16` for Keras' mixed precision, in which the softmax and the
                weights stay float32.
            xla: Compile the graph by XLA; each new size of a batch is compiled once.
            maps: Give the last feature map too.
        """
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
        # Or a newer GPU shortens the factors of a float32 product to ten bits, and says nothing.
        tf.config.experimental.enable_tensor_float_32_execution(False)
        self.precision = precision
        devices = sorted({device.device_type for device in tf.config.list_physical_devices()})
        self.build = f"tensorflow {tf.__version__} on {', '.join(devices)}"
        self.artefact_sha256 = version.sha256(restored_from(version))
        model = restore_keras(version)
        if precision != FULL:
            model = _in_mixed_precision(model, version)
        self.head = _weights(model) if maps else None
        outputs = [model.output, features_of(model)]
        wanted = keras.Model(model.inputs, [*outputs, map_of(model)] if maps else outputs)
        self._call = tf.function(
            lambda images: wanted(images, training=False),
            input_signature=[tf.TensorSpec((None, INPUT_SIZE, INPUT_SIZE, 3), tf.uint8)],
            jit_compile=xla,
        )

    def predict(self, images: Pixels, on_begun: OnBegun = None) -> Outputs:
        """See `Engine.predict`; takes one call at a time."""
        del on_begun
        probabilities, *wanted = (output.numpy() for output in self._call(images))
        features, *maps = (output.astype(np.float32) for output in wanted)
        return Outputs(probabilities, features, _grid(maps[0]) if maps else None)


def features_of(model: keras.Model) -> keras.KerasTensor:
    """What the head classifies: the input of the first of its two dense layers, shape (n, d)."""
    return _head(model)[0].input


def map_of(model: keras.Model) -> keras.KerasTensor:
    """What is averaged to the features: shape (n, h, w, d), or (n, positions, d)."""
    return [layer for layer in model.layers if isinstance(layer, _POOLING)][-1].input


def _head(model: keras.Model) -> list[keras.layers.Dense]:
    dense = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    return dense[-_DENSE_OF_HEAD:]


def _weights(model: keras.Model) -> Head:
    (hidden, hidden_bias), (scores, _) = (layer.get_weights() for layer in _head(model))
    return Head(hidden, hidden_bias, scores)


def _grid(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Positions in a row as a square grid."""
    if maps.ndim == _GRID_AXES:
        return maps
    side = math.isqrt(maps.shape[1])
    return maps.reshape(len(maps), side, side, -1)


def _in_mixed_precision(model: keras.Model, version: ModelVersion) -> keras.Model:
    """The same network with the same weights, whose layers compute in bfloat16."""
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(_LOWER_POLICY)
    try:
        mixed = build(version.card["architecture"])
    finally:
        keras.mixed_precision.set_global_policy(before)
    mixed.set_weights(model.get_weights())
    return mixed


def create(
    version: ModelVersion, settings: InferenceSettings, precision: Precision, *, maps: bool
) -> TensorFlowEngine:
    """Load a version; the device is TensorFlow's choice."""
    return TensorFlowEngine(version, precision=precision, xla=settings.xla, maps=maps)


def supported_precisions() -> Collection[Precision]:
    """See `shared.models.engines.supported_precisions`; processors emulate bfloat16, or may."""
    on_gpu = bool(tf.config.list_physical_devices("GPU"))
    precisions: tuple[Precision, ...] = (FULL, "bf16") if on_gpu else (FULL,)
    return precisions
