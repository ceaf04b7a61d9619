"""ResNet-50 with the study's head.

Source: He et al., Deep Residual Learning for Image Recognition, CVPR 2016.
"""

from __future__ import annotations

import keras
from keras.applications import resnet

from shared.models.architectures import register
from shared.models.architectures.blocks import on_backbone
from shared.models.pretrained import PretrainedWeights


@register("resnet50")
def build(pretrained: PretrainedWeights | None) -> keras.Model:
    """ResNet-50, all of it trained but its batch normalisation."""
    return on_backbone("resnet50", resnet.ResNet50, resnet.preprocess_input, pretrained)
