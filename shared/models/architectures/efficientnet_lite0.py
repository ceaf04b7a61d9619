"""EfficientNet-Lite0: EfficientNet without squeeze-and-excitation, with ReLU6.

Source: Tan and Le, EfficientNet, ICML 2019; the Lite variant by the same authors, 2020.
"""

from __future__ import annotations

from typing import NamedTuple

import keras
from keras import layers

from shared.imaging import INPUT_SIZE
from shared.models.architectures import register
from shared.models.architectures.blocks import classify, freeze_normalisation, image_input
from shared.models.pretrained import PretrainedWeights


class _Stage(NamedTuple):
    repeats: int
    kernel: int
    stride: int
    expansion: int
    filters: int


STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)


@register("efficientnet_lite0")
def build(pretrained: PretrainedWeights | None) -> keras.Model:
    """EfficientNet-Lite0 with the study's head; its batch normalisation stays as pretrained."""
    inputs = image_input()
    features = _head(body(scaled(inputs)))
    if pretrained is not None:
        keras.Model(inputs, features).set_weights(imagenet(pretrained).get_weights())
    return freeze_normalisation(keras.Model(inputs, classify(features), name="efficientnet_lite0"))


def scaled(inputs: keras.KerasTensor) -> keras.KerasTensor:
    """The network's input: (x - 127) / 128."""
    return layers.Rescaling(1 / 128, offset=-127 / 128)(inputs)


def body(x: keras.KerasTensor, stages: tuple[_Stage, ...] = STAGES) -> keras.KerasTensor:
    """Stem and stages; all seven give (n, 7, 7, 320)."""
    x = layers.Conv2D(32, 3, 2, padding="same", use_bias=False)(x)
    x = layers.ReLU(6.0)(_normalised(x))
    for stage in stages:
        for repeat in range(stage.repeats):
            x = _block(x, stage, stage.stride if repeat == 0 else 1)
    return x


def imagenet(pretrained: PretrainedWeights) -> keras.Model:
    """The pretrained network without its classifier, from scaled input to (n, 7, 7, 1280)."""
    inputs = keras.Input((INPUT_SIZE, INPUT_SIZE, 3))
    model = keras.Model(inputs, _head(body(inputs)))
    pretrained.load_into(model, "efficientnet_lite0", fetch=None)
    return model


def expand(x: keras.KerasTensor, factor: int) -> keras.KerasTensor:
    """The 1x1 convolution that opens an inverted bottleneck."""
    x = layers.Conv2D(x.shape[-1] * factor, 1, use_bias=False)(x)
    return layers.ReLU(6.0)(_normalised(x))


def _head(x: keras.KerasTensor) -> keras.KerasTensor:
    return layers.ReLU(6.0)(_normalised(layers.Conv2D(1280, 1, use_bias=False)(x)))


def _block(x: keras.KerasTensor, stage: _Stage, stride: int) -> keras.KerasTensor:
    """An inverted bottleneck with linear output, and a shortcut where the shapes allow it."""
    entry, filters = x, x.shape[-1]
    if stage.expansion != 1:
        x = expand(x, stage.expansion)
    x = layers.DepthwiseConv2D(stage.kernel, stride, padding="same", use_bias=False)(x)
    x = layers.ReLU(6.0)(_normalised(x))
    x = _normalised(layers.Conv2D(stage.filters, 1, use_bias=False)(x))
    if stride == 1 and filters == stage.filters:
        x = layers.Add()([x, entry])
    return x


def _normalised(x: keras.KerasTensor) -> keras.KerasTensor:
    return layers.BatchNormalization(epsilon=1e-3, momentum=0.99)(x)
