"""Train, export, evaluate: by the command line, as an administrator would."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from services.trainer.dataset import Dataset, Sample, read_dataset
from services.trainer.splits import Protocol, split_dataset
from shared.models.likeness import Likeness
from shared.models.registry import ModelRegistry
from shared.triage.labels import LABELS
from tests.command_line import command_line


@pytest.mark.slow
def test_a_study_trains_exports_and_is_evaluated(drawn: Path, tmp_path: Path) -> None:
    work, models, report = tmp_path / "work", tmp_path / "models", tmp_path / "report.json"
    told, page = tmp_path / "study.json", tmp_path / "study.html"
    study = ["study", drawn, "--models=cnn_custom", "--seeds=1", "--max-epochs=1"]
    study += ["--images-per-class=16", "--no-robustness", "--no-gate", "--no-explanations"]
    study += [f"--work={work}", f"--models-dir={models}", "--version=1"]
    source = tmp_path / "source.json"
    source.write_text('{"name": "drawn fields"}')
    study += [f"--source={source}", f"--html={page}", f"--json={told}"]
    trained = command_line(*study)
    assert trained.returncode == 0, trained.stderr
    finished = next(work.glob("*/run.json")).stat().st_mtime_ns
    (run,) = json.loads(told.read_text())["models"]["cnn_custom"]["runs"]
    assert all(file in page.read_text() for file in run["wrong"])
    assert run["cost"]["parameters"] == 127_300
    assert run["cost"]["weights_bytes"] > 4 * 127_300
    assert run["cost"]["speed"]["images_per_second"] > 0

    card = json.loads((models / "cnn_custom/1/card.json").read_text())
    assert card["split"]["counts"] == {"train": 24, "validation": 8, "test": 8}
    assert card["artefacts"]["onnx"]["parity"]["largest_difference"] < 5e-3
    assert card["calibration"]["temperature"] > 0
    assert card["data"]["version"]
    assert card["data"]["name"] == "drawn fields"

    assert set(card["conformal"]["least_probability"]) == set(LABELS)
    assert card["review"]["unreviewed"]["errors"]["of"] <= 8
    assert card["monitoring"]["images"] == 8
    assert Likeness.of(ModelRegistry(models).resolve("cnn_custom")).features is not None

    again = command_line(*study)
    assert again.returncode == 1
    assert "versions never change" in again.stderr
    assert next(work.glob("*/run.json")).stat().st_mtime_ns == finished

    evaluated = command_line(
        "evaluate", drawn, "--model=cnn_custom", "--protocol=grouped", f"--json={report}",
        HEMOTRIAGE_MODELS_DIR=str(models),
    )  # fmt: skip
    assert evaluated.returncode == 0, evaluated.stderr
    found = json.loads(report.read_text())
    assert found["metrics"]["accuracy"] == card["metrics"]["accuracy"]
    assert found["measured_on"]["split"]["hash"] == card["split"]["hash"]


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--seeds=1,"], 2, "--seeds"),
        (["--seeds=1,1"], 2, "--seeds"),
        (["--split-seed=-1"], 2, "--split-seed"),
        (["--models=cnn_custom, cnn_costum"], 1, "unknown_model"),
        (["--representation=segmented", "--version=7"], 1, "representation_not_served"),
        (["--models=student", "--teacher=student"], 1, "bad_request"),
        (["--models=student", "--base=cnn_custom@1"], 1, "base_mismatch"),
        (["--models=student", "--base=student@2"], 1, "bad_request"),
        (["--base=ensemble@1"], 1, "base_mismatch"),
        (["--base=cnn_custom@77"], 1, "unknown_model"),
        (["--set=augmentation=turned"], 2, "the recipe study has no augmentation"),
        (["--set=learning_rate=fast"], 2, "learning_rate: "),
        (["--set=learning_rat=1e-3"], 2, "learning_rat: "),
        (["--set=max_epochs=3"], 2, "there is --max-epochs"),
        (["--models=cnn_custom,efficientnet_lite0"], 1, "pretrained_weights_missing"),
        (["--html=nowhere/study.html"], 2, "--html"),
        (["--models=ensemble", "--members=student@2", "--version=7", "--json=a"], 2, "--json"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is(
    drawn: Path, tmp_path: Path, options: list[str], status: int, said: str
) -> None:
    work = tmp_path / "work"
    refused = command_line("study", drawn, "--models=cnn_custom", f"--work={work}", *options)
    assert refused.returncode == status
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not list(work.glob("*/*"))


def test_a_damaged_file_of_the_test_part_is_found_before_anything_is_trained(
    drawn: Path, tmp_path: Path
) -> None:
    folder, work = shutil.copytree(drawn, tmp_path / "images"), tmp_path / "work"
    damaged = folder / "Early" / "0.png"
    damaged.write_bytes(damaged.read_bytes()[:2000])
    dataset = read_dataset(folder)
    shown = [damaged in [s.path for s in _test_part(dataset, seed)] for seed in range(20)]
    refused = command_line(
        "study", folder, "--models=cnn_custom", "--seeds=1", "--max-epochs=1",
        "--images-per-class=4", f"--split-seed={shown.index(True)}", f"--work={work}",
    )  # fmt: skip
    assert refused.returncode == 1
    assert "These files cannot be used: Early/0.png (corrupt_image)" in refused.stderr
    assert not list(work.glob("*/*"))


def _test_part(dataset: Dataset, seed: int) -> tuple[Sample, ...]:
    return split_dataset(dataset, Protocol.GROUPED, seed).test


def test_a_source_that_is_no_object_of_texts_is_refused(drawn: Path, tmp_path: Path) -> None:
    source = tmp_path / "source.json"
    for content in ("{", '["name"]', '{"name": 1}'):
        source.write_text(content)
        refused = command_line("study", drawn, f"--source={source}", f"--work={tmp_path}")
        assert (refused.returncode, "--source" in refused.stderr) == (2, True)


def test_an_ensemble_needs_its_members(drawn: Path) -> None:
    refused = command_line("study", drawn, "--models=ensemble", "--version=1")
    assert refused.returncode == 2
    assert "--members" in refused.stderr


def test_what_stops_training_does_not_train(drawn: Path) -> None:
    refused = command_line("study", drawn, "--with-validation")
    assert refused.returncode == 1
    assert "stops by the validation part" in refused.stderr


def test_what_saw_the_scale_bar_is_never_exported(drawn: Path, tmp_path: Path) -> None:
    refused = command_line(
        "study", drawn, "--protocol=published", "--version=1", f"--models-dir={tmp_path}"
    )
    assert refused.returncode == 1
    assert "never exported" in refused.stderr
    assert list(tmp_path.iterdir()) == []
