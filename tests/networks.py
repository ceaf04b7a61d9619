"""Small networks and drawn fields, for tests of what is exported and restored."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers
from keras.applications import vgg16

from shared.imaging import Pixels
from shared.imaging.decode import to_model_input
from shared.local.synthetic import draw_smear
from shared.models.architectures.blocks import classify, image_input


def drawn(count: int) -> Pixels:
    """Fields as a model sees them, shape (count, 224, 224, 3)."""
    return np.stack([to_model_input(draw_smear(s, red_cells=20)) for s in range(count)])


def small_vgg(*, filters: int = 32, blocks: int = 2) -> keras.Model:
    """Built as VGG16 is, with its preprocessing; its weights are random."""
    keras.utils.set_random_seed(3)
    inputs = image_input()
    x = vgg16.preprocess_input(keras.ops.cast(inputs, "float32"))
    for _ in range(blocks):
        for _ in range(2):
            x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D(4)(x)
    return keras.Model(inputs, classify(x, dropout=0.4))


def normalised() -> keras.Model:
    """Depthwise convolutions with batch normalisation that has seen data."""
    keras.utils.set_random_seed(4)
    inputs = image_input()
    x = layers.Rescaling(1 / 128, offset=-127 / 128)(inputs)
    x = layers.Conv2D(16, 3, 4, padding="same", use_bias=False)(x)
    for _ in range(2):
        x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
        x = layers.DepthwiseConv2D(3, 2, padding="same", use_bias=False)(x)
        x = layers.Conv2D(64, 1, use_bias=False)(x)
    built = keras.Model(inputs, classify(layers.BatchNormalization()(x)))
    for layer in built.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([w + 0.1 * np.random.rand(*w.shape) for w in layer.get_weights()])
    return built


def beyond_float16() -> keras.Model:
    """Its kernel holds values that float16 has not, and what follows takes them back."""
    keras.utils.set_random_seed(5)
    inputs = image_input()
    x = layers.Conv2D(64, 3, 8, activation="relu", name="huge")(layers.Rescaling(1 / 255)(inputs))
    built = keras.Model(inputs, classify(layers.Rescaling(1e-6)(x)))
    huge = built.get_layer("huge")
    huge.set_weights([1e6 * weights for weights in huge.get_weights()])
    return built
