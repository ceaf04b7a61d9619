"""VGG16 with the study's head: frozen as a whole, or with its fifth block trained.

Source: Simonyan and Zisserman, Very Deep Convolutional Networks, ICLR 2015.
"""

from __future__ import annotations

import keras
from keras.applications import vgg16

from shared.models.architectures import register
from shared.models.architectures.blocks import POOLED, on_backbone
from shared.models.pretrained import PretrainedWeights

_LAST_FROZEN_BLOCK = "block4_pool"
_TRAINED_BLOCK = "block5"


@register("vgg16_baseline", frozen_at=(_LAST_FROZEN_BLOCK, POOLED))
def build_baseline(pretrained: PretrainedWeights | None) -> keras.Model:
    """All of VGG16 frozen; 132,356 of 14,847,044 parameters are trained."""
    return _build("vgg16_baseline", pretrained, dropout=0.3, trained_block=None)


@register("vgg16_finetune", frozen_at=(_LAST_FROZEN_BLOCK,))
def build_finetune(pretrained: PretrainedWeights | None) -> keras.Model:
    """Blocks 1 to 4 frozen; 7,211,780 of 14,847,044 parameters are trained."""
    return _build("vgg16_finetune", pretrained, dropout=0.4, trained_block=_TRAINED_BLOCK)


def _build(
    name: str, pretrained: PretrainedWeights | None, *, dropout: float, trained_block: str | None
) -> keras.Model:
    # The published code fed raw RGB; VGG16's weights are for BGR less the ImageNet mean.
    model = on_backbone("vgg16", vgg16.VGG16, vgg16.preprocess_input, pretrained, dropout=dropout)
    for layer in model.layers:
        if layer.name.startswith("block"):
            layer.trainable = trained_block is not None and layer.name.startswith(trained_block)
    return keras.Model(model.input, model.output, name=name)
