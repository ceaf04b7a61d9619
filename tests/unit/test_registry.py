"""Model versions are found by name, and an artefact is only used if it is the one of its card."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from shared.errors import ModelArtefactError, UnknownModelError
from shared.imaging.decode import to_model_input
from shared.local.synthetic import draw_smear
from shared.models.architectures import build
from shared.models.predictor import Predictor
from shared.models.registry import ModelRegistry, ModelVersion
from shared.settings import InferenceSettings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped models, to be damaged."""
    copy = tmp_path / "models"
    shutil.copytree(InferenceSettings().models_dir, copy)
    return copy


def test_every_kind_of_name_finds_the_champion(folder: Path) -> None:
    registry = ModelRegistry(folder)
    target = registry.aliases()["champion"]
    name = target.partition("@")[0]
    assert {str(registry.resolve(found)) for found in ("champion", name, target)} == {target}


def test_a_bare_name_is_its_newest_version(folder: Path) -> None:
    shutil.copytree(folder / "cnn_custom" / "1", folder / "cnn_custom" / "10")
    assert str(ModelRegistry(folder).resolve("cnn_custom")) == "cnn_custom@10"


@pytest.mark.parametrize("name", ["", "x", "cnn_custom@77", "cnn_custom@0", "../cnn_custom", "a@b"])
def test_an_unknown_name_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(UnknownModelError):
        ModelRegistry(folder).resolve(name)


@pytest.mark.parametrize("kind", ["onnx", "keras"])
def test_an_altered_or_missing_artefact_is_refused(folder: Path, kind: str) -> None:
    version = ModelRegistry(folder).get("cnn_custom", 1)
    path = version.artefact_path(kind)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ModelArtefactError, match="another SHA-256"):
        version.artefact_path(kind)
    path.unlink()
    with pytest.raises(ModelArtefactError, match="missing"):
        version.artefact_path(kind)


@pytest.mark.parametrize("name", ["cnn_custom@1", "student"])
def test_both_engines_give_the_same_probabilities(name: str) -> None:
    images = np.stack([to_model_input(draw_smear(seed)) for seed in range(6)])
    predictions = {}
    for engine in ("openvino", "tensorflow"):
        settings = InferenceSettings(engine=engine, precision="f32", batch_size=4)
        version = ModelRegistry(settings.models_dir).resolve(name)
        predictor = Predictor.load(version, settings)
        assert predictor.reference.engine == engine
        predictions[engine] = predictor.predict(images)
    difference = np.abs(predictions["openvino"].raw - predictions["tensorflow"].raw).max()
    assert difference < 1e-5
    assert np.allclose(predictions["openvino"].calibrated.sum(axis=1), 1)
    near = [predictions[engine].unlikeness for engine in ("openvino", "tensorflow")]
    assert np.allclose(*near, rtol=1e-3), "both give the same features"


def test_probabilities_do_not_depend_on_the_batch() -> None:
    settings = InferenceSettings()
    version = ModelRegistry(settings.models_dir).resolve("champion")
    predictor = Predictor.load(version, settings)
    images = np.stack([to_model_input(draw_smear(seed)) for seed in range(5)])
    together = predictor.predict(images).calibrated
    alone = np.concatenate([predictor.predict(images[i : i + 1]).calibrated for i in range(5)])
    assert np.abs(together - alone).max() < 1e-6


def shipped() -> list[ModelVersion]:
    return ModelRegistry(InferenceSettings().models_dir).versions()


@pytest.mark.parametrize("version", shipped(), ids=str)
def test_a_shipped_card_states_what_it_must(version: ModelVersion) -> None:
    card = version.card
    assert card["split"]["protocol"] == "grouped"
    assert card["metrics"]["accuracy"]["value"] >= 0.94
    assert len(card["metrics"]["accuracy"]["wilson95"]) == 2
    assert card["colour_baseline"]["accuracy"]["value"] > 0
    assert card["data"]["paper"].startswith("doi:")
    assert "redistributed" in card["data"]["terms"]
    assert "not a diagnosis" in json.dumps(card)


@pytest.mark.parametrize("version", shipped(), ids=str)
def test_a_shipped_version_is_whole_and_small(version: ModelVersion) -> None:
    for kind in version.card["artefacts"]:
        assert version.artefact_path(kind).stat().st_size < 35e6
    members = version.members
    assert members or version.card["artefacts"]
    counted = [build(one.card["architecture"]).count_params() for one in (
        [member.version for member in members] or [version]
    )]  # fmt: skip
    assert version.card["parameters"] == sum(counted)
