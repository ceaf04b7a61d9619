"""What the architectures share: the input and the study's head."""

from __future__ import annotations

from collections.abc import Callable

import keras
from keras import layers

from shared.imaging import INPUT_SIZE
from shared.models.pretrained import PretrainedWeights
from shared.triage.labels import LABELS

POOLED = "pooled"
"""Name of the layer that gives one feature vector an image."""


def image_input() -> keras.KerasTensor:
    """Uint8 RGB, shape (n, 224, 224, 3), under the name that the exported graphs keep."""
    return keras.Input((INPUT_SIZE, INPUT_SIZE, 3), dtype="uint8", name="image")


def classify(features: keras.KerasTensor, *, dropout: float = 0.3) -> keras.KerasTensor:
    """The study's head on a feature map: GAP, dropout, dense 256 swish, dropout, softmax."""
    pooled = layers.GlobalAveragePooling2D(name=POOLED)(features)
    return classify_vector(pooled, dropout=dropout)


def classify_vector(x: keras.KerasTensor, *, dropout: float = 0.3) -> keras.KerasTensor:
    """The study's head on a feature vector."""
    x = layers.Dropout(dropout)(x)
    x = layers.Dense(256, activation="swish")(x)
    x = layers.Dropout(dropout)(x)
    # The probabilities stay float32 where the rest of the graph trains in lower precision.
    return layers.Dense(len(LABELS), activation="softmax", dtype="float32", name="probabilities")(x)


def on_backbone(
    name: str,
    application: Callable[..., keras.Model],
    preprocess: Callable[[keras.KerasTensor], keras.KerasTensor],
    pretrained: PretrainedWeights | None,
    *,
    dropout: float = 0.3,
) -> keras.Model:
    """A network of `keras.applications` with its preprocessing before it and the head after it.

    Batch normalisation keeps its pretrained statistics: the data sets are too small for new ones.
    """
    inputs = image_input()
    x = preprocess(keras.ops.cast(inputs, keras.config.floatx()))
    backbone = application(include_top=False, weights=None, input_tensor=x)
    if pretrained is not None:
        bare = application(include_top=False, weights=None)
        pretrained.load_into(bare, name, fetch=lambda: application(include_top=False))
        backbone.set_weights(bare.get_weights())
    model = keras.Model(inputs, classify(backbone.output, dropout=dropout), name=name)
    return freeze_normalisation(model)


def freeze_normalisation(model: keras.Model) -> keras.Model:
    """Keep the statistics of batch normalisation."""
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.trainable = False
    return model
