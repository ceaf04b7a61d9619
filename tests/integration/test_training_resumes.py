"""A run that was interrupted goes on from its last epoch, and ends as if it had not been."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.trainer import study as studies
from services.trainer.dataset import read_dataset
from services.trainer.features import FeatureCache
from services.trainer.loop import seconds_before
from services.trainer.plan import Recipe, make_plan
from services.trainer.reports import Reports
from services.trainer.splits import Protocol, split_dataset
from services.trainer.study import Study, load_run, run_study
from services.trainer.tracking import Tracker, parts_of
from services.trainer.train import Tools
from shared.models.pretrained import PretrainedWeights
from shared.models.registry import ModelRegistry
from shared.models.restore import restore_keras
from shared.settings import PROJECT_ROOT
from tests.factories import class_folders

EPOCHS = 3


class Killed(BaseException):
    """What ends an attempt where it stands."""


class Pipe(io.StringIO):
    """Keeps what is reported; the process is killed when an epoch of that key is."""

    def __init__(self, fatal: str = "") -> None:
        super().__init__()
        self._fatal = fatal

    def write(self, line: str) -> int:
        written = super().write(line)
        if self._fatal and f'"{self._fatal}"' in line:
            raise Killed
        return written

    @property
    def epochs(self) -> list[str]:
        told = [json.loads(line).get("told") for line in self.getvalue().splitlines()]
        return [one["key"] for one in told if one and one["kind"] == "epoch"]


@pytest.fixture(scope="module")
def make_study(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Study]:
    """A study of five drawn fields a class, in a folder of its own."""
    folder = class_folders(tmp_path_factory.mktemp("drawn") / "images", 5)
    dataset = read_dataset(folder, groups="none")
    split = split_dataset(dataset, Protocol.GROUPED, 1)

    def make(work: Path, *seeds: int, **values: object) -> Study:
        small = {"images_per_class": 4, "batch_size": 8, "max_epochs": EPOCHS}
        plan = make_plan("cnn_custom", Recipe.ROBUST, **small, **values)
        return Study(dataset, split, (plan,), seeds, work)

    return make


def attempt(study: Study, pipe: Pipe, **more: Any) -> dict[str, Any]:
    """One attempt at a study; gives the runs of its record."""
    tracker = Tracker(Reports(pipe), parts_of(study), EPOCHS)
    tracker.retell()
    tools = Tools(
        PretrainedWeights(None),
        FeatureCache(study.work / "features"),
        progress_of=tracker.progress_of,
        **more,
    )
    return run_study(study, tools)["models"]["cnn_custom"]["runs"]


def keys(*seeds: int) -> list[str]:
    return [f"epoch/{seed}/run/{number + 1}" for seed in seeds for number in range(EPOCHS)]


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_killed_run_measures_as_one_that_was_not(make_study, tmp_path, monkeypatch) -> None:
    whole = attempt(make_study(tmp_path / "whole", 1, 2), Pipe())
    study = make_study(tmp_path / "killed", 1, 2)
    with pytest.raises(Killed):
        attempt(study, Pipe("epoch/1/run/2"))
    resumed = Pipe("epoch/2/run/1")
    with pytest.raises(Killed):
        attempt(study, resumed)
    # The killed epoch was told and not kept; it is trained again, and told under the same key.
    assert resumed.epochs == [*keys(1), keys(2)[0]]

    monkeypatch.setattr(studies, "_measure", killed_while_measuring)
    with pytest.raises(Killed):
        attempt(study, Pipe())
    monkeypatch.undo()
    spent = {str(run): seconds_before(run) for run in study.work.iterdir()}
    last = Pipe()
    monkeypatch.setattr("services.trainer.loop._epoch", trained_again)
    runs = attempt(study, last)
    assert set(last.epochs) == set(keys(1, 2)), "what was finished is told once more"
    assert max(spent.values()) > 0
    for found, expected in zip(runs, whole, strict=True):
        assert found["metrics"]["confusion_matrix"] == expected["metrics"]["confusion_matrix"]
        assert found["validation_loss"] == pytest.approx(expected["validation_loss"], rel=1e-3)
        assert found["plan"] == expected["plan"]
        assert found["seconds"] >= spent[found["folder"]], "epochs before the kill count"
        for name, values in expected["history"].items():
            assert found["history"][name] == pytest.approx(values, rel=1e-3), name
        assert not (Path(found["folder"]) / "checkpoint").exists()


def killed_while_measuring(*_: object) -> None:
    raise Killed


def trained_again(*_: object) -> None:
    pytest.fail("a checkpoint that was whole is trained again")


def test_training_starts_from_the_weights_of_its_base(make_study, tmp_path) -> None:
    base = ModelRegistry(PROJECT_ROOT / "models").resolve("cnn_custom@1")
    study = make_study(tmp_path, 1, learning_rate=1e-8)
    (run,) = attempt(study, Pipe(), base=lambda: restore_keras(base))
    trained = load_run(run).get_weights()
    for found, begun in zip(trained, restore_keras(base).get_weights(), strict=True):
        assert np.abs(found - begun).max() < 1e-5
    assert run["history"]["loss"][0] > 0
