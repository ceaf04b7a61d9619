"""`hemotriage evaluate`, as its user runs it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from services.trainer.code_version import code_version
from services.trainer.dataset import Sample, label_indices, read_dataset
from services.trainer.evaluate import Part, evaluate, trained_on
from shared.models.predictor import Predictor
from shared.models.registry import ModelRegistry, ModelVersion
from shared.settings import InferenceSettings
from shared.triage.labels import LABELS
from tests.command_line import command_line
from tests.factories import class_folders
from tests.versions import a_version_with_cases


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return class_folders(tmp_path_factory.mktemp("drawn") / "images", 2)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model, twice; the second is calibrated to be unsure."""
    folder = tmp_path_factory.mktemp("models")
    for version in ("1", "2"):
        shipped = InferenceSettings().models_dir / "cnn_custom" / "1"
        shutil.copytree(shipped, folder / "cnn_custom" / version)
    path = folder / "cnn_custom" / "2" / "card.json"
    card = json.loads(path.read_text()) | {"calibration": {"temperature": 20.0}, "version": 2}
    path.write_text(json.dumps(card))
    return folder


@pytest.fixture(scope="module")
def report(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The report on eight images, with what was printed and the page."""
    folder = tmp_path_factory.mktemp("report")
    done = command_line(
        "evaluate", drawn, "--model=cnn_custom@1", "--robustness",
        f"--json={folder}/report.json", f"--html={folder}/report.html",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return found | {"printed": done.stdout, "page": (folder / "report.html").read_text()}


def test_errors_are_named_by_file_and_hash_and_hold_no_image(
    report: dict[str, Any], drawn: Path
) -> None:
    wrong = 8 - report["metrics"]["accuracy"]["count"]
    assert wrong > 0, "drawn fields mean nothing to the model"
    assert len(report["errors"]) == wrong
    files = {f"{s.label}/{s.path.name}": s.sha256 for s in read_dataset(drawn).samples}
    for error in report["errors"]:
        assert files[error["file"]] == error["sha256"]
        assert error["true"] != error["predicted"]
        assert error["confidence"] == max(error["probabilities"].values())
        assert error["sha256"][:16] in report["printed"]
        assert error["sha256"] in report["page"]
    confidences = [error["confidence"] for error in report["errors"]]
    assert confidences == sorted(confidences, reverse=True)


def test_robustness_is_measured_where_it_is_asked_for(report: dict[str, Any]) -> None:
    assert report["robustness"]["clean"] == report["metrics"]["accuracy"]
    for name in (*report["robustness"]["perturbations"], "grey", "stain_normalised"):
        assert name.replace("_", " ") in report["printed"]
        assert name.replace("_", " ") in report["page"]


def test_review_is_measured_and_shown(report: dict[str, Any]) -> None:
    """No drawn field has the colours of a real one, so that each is sent to review."""
    review = report["review"]
    assert review["unreviewed"]["coverage"] == 0
    assert review["malignant_as_routine"] == {
        "value": 0.0, "count": 0, "of": 6, "wilson95": review["malignant_as_routine"]["wilson95"],
    }  # fmt: skip
    assert review["reasons"]["unlike_training_data"] == review["flagged_as_unlike"]["count"] == 8
    for text in ("unlike_training_data", "malignant, yet routine", "set holds the label, Early"):
        assert text in report["printed"]
        assert text in report["page"]


def test_foreign_images_are_counted(drawn: Path, tmp_path: Path) -> None:
    folder = tmp_path / "holiday"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        pixels = rng.integers(0, 256, (300, 400, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    Image.new("L", (50, 50)).save(folder / "grey.png")
    (folder / "notes.txt").write_text("no image")
    report, page = tmp_path / "report.json", tmp_path / "report.html"
    done = command_line(
        "evaluate", drawn, "--model=cnn_custom", f"--foreign={folder}",
        f"--json={report}", f"--html={page}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(report.read_text())["foreign"][str(folder)]
    assert (found["images"], found["refused"]) == (3, 1)
    assert found["reviewed"]["count"] == found["unlike"]["count"] == 3
    assert found["routine"]["count"] == 0
    assert "holiday" in done.stdout
    assert "holiday" in page.read_text()


def test_a_seed_of_no_split_is_refused(drawn: Path) -> None:
    done = command_line("evaluate", drawn, "--model=cnn_custom", "--split-seed=7")
    assert (done.returncode, "--protocol" in done.stderr) == (2, True)


@pytest.mark.parametrize("option", ["--json", "--html"])
def test_a_file_in_no_folder_is_refused_before_anything_is_measured(
    drawn: Path, tmp_path: Path, option: str
) -> None:
    missing = tmp_path / "nowhere"
    done = command_line("evaluate", drawn, "--model=cnn_custom", f"{option}={missing}/report")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"there is no folder {missing}" in done.stderr


def test_a_folder_without_a_foreign_image_is_refused(drawn: Path, tmp_path: Path) -> None:
    done = command_line("evaluate", drawn, "--model=cnn_custom", f"--foreign={tmp_path}")
    assert done.returncode == 1
    assert "dataset_invalid" in done.stderr


def test_an_ensemble_is_as_large_as_its_members(drawn: Path, models: Path, tmp_path: Path) -> None:
    first = json.loads((models / "cnn_custom" / "1" / "card.json").read_text())
    members = [{"model": f"cnn_custom@{version}", "weight": 1.0} for version in (1, 2)]
    card = first | {"name": "ensemble", "parameters": 254_600, "artefacts": {}, "members": members}
    folder = tmp_path / "models" / "ensemble" / "1"
    shutil.copytree(models, tmp_path / "models")
    folder.mkdir(parents=True)
    (folder / "card.json").write_text(json.dumps(card))
    done = command_line(
        "evaluate", drawn, "--model=ensemble", f"--json={tmp_path}/report.json",
        HEMOTRIAGE_MODELS_DIR=str(tmp_path / "models"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "report.json").read_text())
    assert (found["model"]["name"], len(found["members"])) == ("ensemble", 2)
    assert found["cost"]["parameters"] == 254_600
    assert found["cost"]["artefact_bytes"] == 2 * first["artefacts"]["onnx"]["bytes"]


def test_a_report_tells_cost_and_code(report: dict[str, Any]) -> None:
    card = ModelRegistry(InferenceSettings().models_dir).resolve("cnn_custom@1").card
    assert report["cost"]["parameters"] == card["parameters"]
    assert report["cost"]["artefact_bytes"] == card["artefacts"]["onnx"]["bytes"]
    assert (report["cost"]["engine"], report["cost"]["precision"]) == ("openvino", "f32")
    assert report["cost"]["speed"]["images_per_second"] > 0
    assert report["cost"]["speed"]["batch"] == 8
    assert report["code"] == code_version()


def test_a_report_tells_that_it_cannot_know_of_other_images(report: dict[str, Any]) -> None:
    assert report["measured_on"]["trained_on"].startswith("Not known")
    assert "split" not in report["measured_on"]
    assert "colour alone" in report["page"]


def test_a_report_without_a_card_still_has_every_measure(drawn: Path) -> None:
    settings = InferenceSettings()
    version = ModelRegistry(settings.models_dir).resolve("cnn_custom@1")
    found = evaluate(Predictor.load(version, settings), read_dataset(drawn))
    assert found["accuracy"] == found["metrics"]["accuracy"]["value"]
    assert found["cost"]["parameters"] is None
    assert (found["model"]["name"], found["members"]) == ("cnn_custom", [])


def test_models_are_compared_on_the_same_images(drawn: Path, models: Path, tmp_path: Path) -> None:
    done = command_line(
        "evaluate", drawn, "--model=cnn_custom@1", "--model=cnn_custom@2", "--model=cnn_custom@1",
        f"--json={tmp_path}/both.json", f"--html={tmp_path}/both.html",
        HEMOTRIAGE_MODELS_DIR=str(models),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "both.json").read_text())
    first, second = found["models"]["cnn_custom@1"], found["models"]["cnn_custom@2"]
    assert list(found["models"]) == ["cnn_custom@1", "cnn_custom@2"]
    assert first["measured_on"] == second["measured_on"]
    assert first["metrics"]["confusion_matrix"] == second["metrics"]["confusion_matrix"]
    assert first["metrics"]["policy"] != second["metrics"]["policy"]
    assert found["comparison"]["best"] == "cnn_custom@1"
    paired = found["comparison"]["models"]["cnn_custom@2"]["against_best"]
    assert paired == {"only_a": 0, "only_b": 0, "p": 1.0}
    assert "Comparison of 2 models" in (tmp_path / "both.html").read_text()
    assert "the best is cnn_custom@1" in done.stdout


def test_images_that_a_model_may_have_been_trained_on_are_said_to_be_so(tmp_path: Path) -> None:
    card = {"data": {"version": "a"}, "split": {"hash": "own"}, "artefacts": {}}
    version = ModelVersion("student", 1, tmp_path, card)
    own, other = ({"dataset_version": "a", "split": {"hash": name}} for name in ("own", "other"))
    assert trained_on(version, part_of(own)).startswith("None of these images")
    for measured_on in (other, {"dataset_version": "a"}):
        said = trained_on(version, part_of(measured_on))
        assert said.startswith("Probably on some of these images")
    assert trained_on(version, part_of({"dataset_version": "b"})).startswith("Not known")


def test_images_that_a_model_names_as_its_training_images_are_counted(tmp_path: Path) -> None:
    samples = tuple(Sample(Path("x"), LABELS[0], f"{n:064x}"[::-1], str(n)) for n in range(4))
    version = a_version_with_cases(tmp_path, "student", samples[:3], split_hash="own")
    said = "On 2 of these 3 images, by their SHA-256. These figures are then too good."
    for split in ({}, {"split": {"hash": "other"}}):
        measured_on = {"dataset_version": "b", **split}
        assert trained_on(version, part_of(measured_on, samples[1:])) == said
    none = part_of({"dataset_version": "b"}, samples[3:])
    assert trained_on(version, none).startswith("Not known")
    own = part_of({"dataset_version": "b", "split": {"hash": "own"}}, samples[1:])
    assert trained_on(version, own).startswith("None of these images")


def part_of(measured_on: dict[str, Any], samples: tuple[Sample, ...] = ()) -> Part:
    return Part(samples, np.empty((0, 224, 224, 3), np.uint8), label_indices(samples), measured_on)
