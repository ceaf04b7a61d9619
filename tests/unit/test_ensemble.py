"""An ensemble is a version like any other: the weighted mean of its calibrated members."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.errors import UnknownModelError
from shared.imaging.decode import to_model_input
from shared.local.synthetic import draw_smear
from shared.models.engines.openvino_engine import OpenVINOEngine
from shared.models.engines.outputs import Outputs
from shared.models.predictor import Predictor
from shared.models.registry import ModelRegistry
from shared.settings import PROJECT_ROOT, InferenceSettings
from shared.triage.calibration import Calibration
from tests.networks import drawn

WEIGHTS = {"cnn_custom@1": 3.0, "cnn_custom@2": 1.0}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A registry of two versions of one network that are calibrated differently, and their mean."""
    for number, temperature in ((1, 0.5), (2, 4.0)):
        copy = tmp_path / "cnn_custom" / str(number)
        shutil.copytree(PROJECT_ROOT / "models" / "cnn_custom" / "1", copy)
        card = json.loads((copy / "card.json").read_text())
        card["calibration"]["temperature"] = temperature
        (copy / "card.json").write_text(json.dumps(card))
    joined = tmp_path / "ensemble" / "1"
    joined.mkdir(parents=True)
    members = [{"model": model, "weight": weight} for model, weight in WEIGHTS.items()]
    card = {"members": members, "artefacts": {}, "calibration": {"temperature": 2.0}}
    (joined / "card.json").write_text(json.dumps(card))
    return tmp_path


def load(folder: Path, model: str) -> Predictor:
    return Predictor.load(ModelRegistry(folder).resolve(model), InferenceSettings(batch_size=4))


def test_an_ensemble_is_the_weighted_mean_of_its_calibrated_members(folder: Path) -> None:
    images = np.stack([to_model_input(draw_smear(seed)) for seed in range(6)])
    ensemble = load(folder, "ensemble").predict(images)
    alone = [load(folder, model).predict(images) for model in WEIGHTS]
    parts = [prediction.calibrated for prediction in alone]
    mean = (3 * parts[0] + parts[1]) / 4
    assert np.abs(parts[0] - parts[1]).max() > 0.05, "the members must differ"
    softened = Calibration.of_temperature(2.0).apply(mean.astype(np.float32))
    assert np.abs(ensemble.calibrated - softened).max() < 1e-6
    assert np.abs(ensemble.raw - alone[0].raw).max() < 1e-6, "one network, calibrated differently"


def test_an_ensemble_tells_what_each_member_says_in_their_order(folder: Path) -> None:
    images = np.stack([to_model_input(draw_smear(seed)) for seed in range(6)])
    ensemble = load(folder, "ensemble").predict(images)
    assert ensemble.opinions is not None
    assert ensemble.raw_opinions is not None
    for index, model in enumerate(WEIGHTS):
        alone = load(folder, model).predict(images)
        assert np.abs(ensemble.opinions[:, index] - alone.calibrated).max() < 1e-6
        assert np.abs(ensemble.raw_opinions[:, index] - alone.raw).max() < 1e-6


def test_an_ensemble_of_which_a_member_has_no_reference_checks_nothing(folder: Path) -> None:
    images = to_model_input(draw_smear(0))[np.newaxis]
    give_colours(folder)
    assert load(folder, "ensemble").predict(images).unlikeness is not None
    path = folder / "cnn_custom" / "2" / "card.json"
    card = json.loads(path.read_text())
    del card["artefacts"]["reference"]
    path.write_text(json.dumps(card))
    assert load(folder, "ensemble").predict(images).unlikeness is None


def give_colours(folder: Path) -> None:
    """Give the ensemble the reference of a member; of its two parts it uses the colours."""
    member = folder / "cnn_custom" / "1"
    reference = json.loads((member / "card.json").read_text())["artefacts"]["reference"]
    shutil.copy(member / reference["file"], folder / "ensemble" / "1")
    path = folder / "ensemble" / "1" / "card.json"
    card = json.loads(path.read_text()) | {"artefacts": {"reference": reference}}
    path.write_text(json.dumps(card))


def test_a_result_names_the_ensemble_and_each_member(folder: Path) -> None:
    references = load(folder, "ensemble").references
    names = [f"{reference.name}@{reference.version}" for reference in references]
    assert names == ["ensemble@1", *WEIGHTS]
    assert len(references[0].sha256) == 64
    assert references[0].sha256 != references[1].sha256
    assert [r.name for r in load(folder, "cnn_custom@1").references] == ["cnn_custom"]


def test_the_hash_of_an_ensemble_tells_its_weights(folder: Path) -> None:
    before = load(folder, "ensemble").reference.sha256
    path = folder / "ensemble" / "1" / "card.json"
    path.write_text(path.read_text().replace("3.0", "2.0"))
    assert load(folder, "ensemble").reference.sha256 != before


def test_an_ensemble_whose_member_is_gone_is_refused(folder: Path) -> None:
    shutil.rmtree(folder / "cnn_custom" / "2")
    with pytest.raises(UnknownModelError, match="cnn_custom@2"):
        load(folder, "ensemble")


def test_others_may_begin_when_its_last_member_has_begun_its_last_batch(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensemble, done = load(folder, "ensemble"), 0
    predict = OpenVINOEngine.predict

    def counted(*arguments: Any) -> Outputs:
        nonlocal done
        outputs = predict(*arguments)
        done += 1
        return outputs

    monkeypatch.setattr(OpenVINOEngine, "predict", counted)
    told: list[int] = []
    ensemble.predict(drawn(6), lambda: told.append(done))
    assert told == [3], "of two members' two batches each, all but the last"
    assert done == 4
