"""The networks are those that their names promise, and get their weights from where they should."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from shared.errors import PretrainedWeightsError, UnknownModelError
from shared.models.architectures import architectures, build
from shared.models.architectures import efficientnet_lite0 as lite0
from shared.models.pretrained import PretrainedWeights

PARAMETERS = {
    "cnn_custom": (127_300, 127_300),
    "vgg16_baseline": (14_847_044, 132_356),
    "vgg16_finetune": (14_847_044, 7_211_780),
    "efficientnet_lite0": (3_741_988, 3_657_956),
    "student": (968_196, 933_188),
    "resnet50": (24_113_284, 24_007_044),
    "densenet121": (7_300_932, 7_133_636),
    "vit_tiny": (5_574_468, 5_574_468),
}
"""All parameters of each architecture, and those that are trained."""


def count(weights: list[keras.Variable]) -> int:
    return sum(int(np.prod(weight.shape)) for weight in weights)


def test_every_architecture_is_counted_here() -> None:
    assert set(architectures()) == set(PARAMETERS)


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_number_of_parameters_is_exact(name: str) -> None:
    model = build(name)
    assert (model.count_params(), count(model.trainable_weights)) == PARAMETERS[name]
    assert model.input.shape == (None, 224, 224, 3)
    assert model.input.dtype == "uint8"
    assert model.output.shape == (None, 4)


def test_the_student_has_at_most_a_million_parameters() -> None:
    assert build("student").count_params() <= 1_000_000


def test_an_unknown_architecture_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(UnknownModelError, match="vgg16_baseline"):
        build("alexnet")


def test_weights_of_a_folder_are_loaded(tmp_path: Path) -> None:
    inputs = keras.Input((224, 224, 3))
    donor = keras.Model(inputs, lite0._head(lite0.body(inputs)))
    donor.save_weights(tmp_path / "efficientnet_lite0_notop.weights.h5")
    model = build("efficientnet_lite0", PretrainedWeights(tmp_path))
    backbone = keras.Model(model.input, model.get_layer("pooled").input)
    for loaded, saved in zip(backbone.get_weights(), donor.get_weights(), strict=True):
        assert np.array_equal(loaded, saved)


def test_weights_that_are_nowhere_are_named(tmp_path: Path) -> None:
    with pytest.raises(PretrainedWeightsError, match=r"efficientnet_lite0_notop\.weights\.h5"):
        build("efficientnet_lite0", PretrainedWeights(tmp_path))
    with pytest.raises(PretrainedWeightsError, match="HEMOTRIAGE_PRETRAINED_DIR is not set"):
        build("vit_tiny", PretrainedWeights(None))


def test_weights_that_a_download_does_not_bring_are_named(tmp_path: Path) -> None:
    def unreachable() -> keras.Model:
        raise Exception("URL fetch failure")  # what Keras raises

    backbone = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    with pytest.raises(PretrainedWeightsError, match="could not fetch vgg16"):
        PretrainedWeights(tmp_path).load_into(backbone, "vgg16", fetch=unreachable)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    other = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    other.save_weights(tmp_path / "efficientnet_lite0_notop.weights.h5")
    with pytest.raises(PretrainedWeightsError, match="does not fit"):
        build("efficientnet_lite0", PretrainedWeights(tmp_path))


@pytest.mark.dataset
def test_the_student_starts_from_the_first_stages_of_its_teacher(pretrained_folder: Path) -> None:
    pretrained = PretrainedWeights(pretrained_folder)
    image = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), dtype=np.uint8)
    student = build("student", pretrained)
    features = keras.Model(student.input, student.get_layer("pooled").input)(image)
    teacher = lite0.imagenet(pretrained)
    # The expansion of stage 6 is the last layer before the resolution falls to 7x7.
    *_, last = [layer for layer in teacher.layers if layer.output.shape == (None, 14, 14, 672)]
    expected = keras.Model(teacher.input, last.output)((image - np.float32(127)) / 128)
    assert np.abs(np.array(features) - np.array(expected)).max() < 1e-4


@pytest.mark.dataset
def test_vgg16_has_the_published_preprocessing(pretrained_folder: Path) -> None:
    """Keras' own VGG16 on Keras' own preprocessing gives what the graph gives on raw pixels."""
    image = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), dtype=np.uint8)
    model = build("vgg16_baseline", PretrainedWeights(pretrained_folder))
    features = keras.Model(model.input, model.get_layer("pooled").input)(image)
    bare = keras.applications.VGG16(include_top=False, weights=None)
    bare.load_weights(pretrained_folder / "vgg16_notop.weights.h5")
    prepared = keras.applications.vgg16.preprocess_input(image.astype(np.float32))
    assert np.allclose(features, bare(prepared), atol=1e-3)
