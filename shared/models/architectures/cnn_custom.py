"""The study's own small network: 127,300 parameters."""

from __future__ import annotations

import keras
from keras import layers

from shared.models.architectures import register
from shared.models.architectures.blocks import classify, image_input
from shared.models.pretrained import PretrainedWeights


@register("cnn_custom")
def build(pretrained: PretrainedWeights | None) -> keras.Model:
    """Three convolutions (32, 64, 128), global average pooling and a dense head of 256 swish."""
    del pretrained  # it is trained from scratch
    inputs = image_input()
    x = layers.Rescaling(1 / 255)(inputs)
    for filters in (32, 64, 128):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = layers.MaxPooling2D()(x)
    return keras.Model(inputs, classify(x), name="cnn_custom")
