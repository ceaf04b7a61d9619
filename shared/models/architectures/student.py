"""The student: the first five stages of EfficientNet-Lite0, under a million parameters.

It is distilled from the ensemble. Blasts are told apart by texture of chromatin and shape of the
nucleus, which the 14x14 stages still resolve; the deeper stages hold three quarters of the weights.
"""

from __future__ import annotations

import keras

from shared.models.architectures import efficientnet_lite0 as lite0
from shared.models.architectures import register
from shared.models.architectures.blocks import classify, freeze_normalisation, image_input
from shared.models.pretrained import PretrainedWeights


@register("student")
def build(pretrained: PretrainedWeights | None) -> keras.Model:
    """968,196 parameters: stages 1 to 5, the expansion that follows them, the study's head."""
    inputs = image_input()
    features = _features(lite0.scaled(inputs))
    if pretrained is not None:
        trunk = keras.Model(inputs, features)
        # Weights are listed in the order of the data, so that the first ones are the student's.
        of_teacher = lite0.imagenet(pretrained).get_weights()[: len(trunk.get_weights())]
        trunk.set_weights(of_teacher)
    return freeze_normalisation(keras.Model(inputs, classify(features), name="student"))


def _features(x: keras.KerasTensor) -> keras.KerasTensor:
    """Shape (n, 14, 14, 672)."""
    return lite0.expand(lite0.body(x, lite0.STAGES[:5]), lite0.STAGES[5].expansion)
