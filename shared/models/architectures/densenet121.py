"""DenseNet-121 with the study's head.

Source: Huang et al., Densely Connected Convolutional Networks, CVPR 2017.
"""

from __future__ import annotations

import keras
from keras.applications import densenet

from shared.models.architectures import register
from shared.models.architectures.blocks import on_backbone
from shared.models.pretrained import PretrainedWeights


@register("densenet121")
def build(pretrained: PretrainedWeights | None) -> keras.Model:
    """DenseNet-121, all of it trained but its batch normalisation."""
    return on_backbone("densenet121", densenet.DenseNet121, densenet.preprocess_input, pretrained)
