"""The study's own small network: 127,300 parameters."""

from __future__ import annotations

import keras
from keras import layers

from shared.imaging import INPUT_SIZE
from shared.models.architectures import register
from shared.triage.labels import LABELS


@register("cnn_custom")
def build() -> keras.Model:
    """Three convolutions (32, 64, 128), global average pooling and a dense head of 256 swish."""
    inputs = keras.Input((INPUT_SIZE, INPUT_SIZE, 3), dtype="uint8", name="image")
    x = layers.Rescaling(1 / 255)(inputs)
    for filters in (32, 64, 128):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D()(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.3)(x)
    x = layers.Dense(256, activation="swish")(x)
    x = layers.Dropout(0.3)(x)
    # The probabilities stay float32 where the rest of the graph trains in lower precision.
    outputs = layers.Dense(
        len(LABELS), activation="softmax", dtype="float32", name="probabilities"
    )(x)
    return keras.Model(inputs, outputs, name="cnn_custom")
