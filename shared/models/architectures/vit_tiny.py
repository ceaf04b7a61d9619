"""ViT-Ti/16 with the study's head.

Source: Dosovitskiy et al., An Image is Worth 16x16 Words, ICLR 2021; the tiny size by Touvron et
al., Training data-efficient image transformers, ICML 2021.
"""

from __future__ import annotations

import math

import keras
from keras import layers

from shared.imaging import INPUT_SIZE
from shared.models.architectures import register
from shared.models.architectures.blocks import classify_vector, image_input
from shared.models.pretrained import PretrainedWeights

PATCH = 16
WIDTH = 192
DEPTH = 12
HEADS = 3


@keras.saving.register_keras_serializable("hemotriage")
class PositionEmbedding(layers.Layer):  # type: ignore[misc]
    """Adds a learned vector to each patch."""

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make one vector a patch; input shape (n, patches, width)."""
        shape = (1, *input_shape[1:])
        self.embedding = self.add_weight(shape=shape, initializer="truncated_normal", name="emb")

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Shape (n, patches, width) in and out."""
        return x + self.embedding


@keras.saving.register_keras_serializable("hemotriage")  # type: ignore[untyped-decorator]
def gelu(x: keras.KerasTensor) -> keras.KerasTensor:
    """Multiply x by the standard normal distribution function of x.

    Keras' own is computed by TensorFlow from the complementary error function, which ONNX lacks.
    """
    return 0.5 * x * (1 + keras.ops.erf(x / math.sqrt(2)))


@register("vit_tiny")
def build(pretrained: PretrainedWeights | None) -> keras.Model:
    """Twelve pre-norm blocks of width 192; the mean of the patches takes the class token's place.

    Keras fetches no weights for it: without a file in the pretrained folder it is refused.
    """
    inputs = image_input()
    features = _features(layers.Rescaling(1 / 127.5, offset=-1)(inputs))
    if pretrained is not None:
        bare_inputs = keras.Input((INPUT_SIZE, INPUT_SIZE, 3))
        bare = keras.Model(bare_inputs, _features(bare_inputs))
        pretrained.load_into(bare, "vit_tiny", fetch=None)
        keras.Model(inputs, features).set_weights(bare.get_weights())
    return keras.Model(inputs, classify_vector(features), name="vit_tiny")


def _features(x: keras.KerasTensor) -> keras.KerasTensor:
    """Shape (n, 192)."""
    x = layers.Conv2D(WIDTH, PATCH, PATCH)(x)
    x = PositionEmbedding()(layers.Reshape(((INPUT_SIZE // PATCH) ** 2, WIDTH))(x))
    for _ in range(DEPTH):
        x = _block(x)
    return layers.GlobalAveragePooling1D()(layers.LayerNormalization(epsilon=1e-6)(x))


def _block(x: keras.KerasTensor) -> keras.KerasTensor:
    y = layers.LayerNormalization(epsilon=1e-6)(x)
    x = layers.Add()([x, layers.MultiHeadAttention(HEADS, WIDTH // HEADS)(y, y)])
    y = layers.LayerNormalization(epsilon=1e-6)(x)
    y = layers.Dense(WIDTH)(layers.Dense(4 * WIDTH, activation=gelu)(y))
    return layers.Add()([x, y])
