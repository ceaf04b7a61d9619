"""Train, export, evaluate: by the command line, as an administrator would."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from services.cli import COMMANDS
from services.trainer.dataset import Dataset, Sample, read_dataset
from services.trainer.splits import Protocol, split_dataset
from shared.local.synthetic import draw_smear
from shared.models.likeness import Likeness
from shared.models.registry import ModelRegistry
from shared.settings import InferenceSettings
from shared.triage.labels import LABELS
from tests.command_line import command_line
from tests.factories import class_folders
from tests.waiting import eventually


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return class_folders(tmp_path_factory.mktemp("drawn") / "images", 10)


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


@pytest.mark.exhaustive
@pytest.mark.slow
def test_members_an_ensemble_and_a_student_that_learns_from_it(drawn: Path, tmp_path: Path) -> None:
    models, report = tmp_path / "models", tmp_path / "report.json"
    common = ["--max-epochs=1", "--images-per-class=8", "--no-gate", "--no-explanations"]
    common += [f"--work={tmp_path / 'work'}", f"--models-dir={models}", "--version=1"]
    trained = command_line(
        "study", drawn, "--models=cnn_custom", "--recipe=robust", "--with-validation",
        "--seeds=1,2", "--every-seed", "--no-robustness", *common,
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    card = json.loads((models / "cnn_custom/2/card.json").read_text())
    assert card["training"]["plan"]["seed"] == 2
    for fitted in (card["calibration"]["fitted_on"], card["conformal"]["fitted_on"]):
        assert "did not train on it" in fitted
    siblings = [
        json.loads(path.read_text())["plan"] for path in (tmp_path / "work").glob("*/run.json")
    ]
    alone = {plan["seed"] for plan in siblings if not plan["with_validation"]}
    assert alone == {1, 2}, "each seed has its sibling"

    joined = command_line(
        "study", drawn, "--models=ensemble", "--members=cnn_custom@1,cnn_custom@2", *common
    )
    assert joined.returncode == 0, joined.stderr
    ensemble = json.loads((models / "ensemble/1/card.json").read_text())
    assert [member["model"] for member in ensemble["members"]] == ["cnn_custom@1", "cnn_custom@2"]
    assert ensemble["parameters"] == 2 * 127_300
    assert set(ensemble["robustness"]["perturbations"]["hue"]) == {"1", "2", "3"}
    likeness = Likeness.of(ModelRegistry(models).resolve("ensemble"))
    assert (likeness.features, likeness.colours is None) == (None, False), "its members have theirs"
    before = [path.name for path in (models / "cnn_custom/1").glob("reference-*.npz")]
    assured = command_line(
        "models", "assure", "cnn_custom@1", drawn, f"--work={tmp_path / 'work'}",
        HEMOTRIAGE_MODELS_DIR=str(models),
    )  # fmt: skip
    assert assured.returncode == 0, assured.stderr
    assert "held-out images need no review" in assured.stdout
    after = [path.name for path in (models / "cnn_custom/1").glob("reference-*.npz")]
    assert after == before, "it is fitted as before, and its name is its hash"

    taught = command_line(
        "study", drawn, "--models=cnn_custom", "--recipe=robust", "--teacher=ensemble@1",
        "--seeds=1", f"--json={report}", *common[:-1],
    )  # fmt: skip
    assert taught.returncode == 0, taught.stderr
    (run,) = json.loads(report.read_text())["models"]["cnn_custom"]["runs"]
    assert run["plan"]["teacher"] == "ensemble@1"
    assert run["metrics"]["images"] == 8


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_version_that_goes_on_from_another(drawn: Path, tmp_path: Path) -> None:
    models, work = tmp_path / "models", tmp_path / "work"
    common = ["--models=cnn_custom", "--seeds=1", "--max-epochs=1", "--images-per-class=8"]
    common += ["--no-robustness", "--no-gate", f"--work={work}", f"--models-dir={models}"]
    first = command_line("study", drawn, *common, "--version=1", "--no-explanations")
    assert first.returncode == 0, first.stderr
    goes_on = ["--recipe=robust", "--base=cnn_custom", "--with-validation"]
    second = command_line("study", drawn, *common, "--version=2", *goes_on)
    assert second.returncode == 0, second.stderr
    card = json.loads((models / "cnn_custom/2/card.json").read_text())
    assert card["training"]["plan"]["base"] == "cnn_custom@1"
    plans = [json.loads(path.read_text())["plan"] for path in work.glob("*/run.json")]
    bases = sorted((plan.get("base", ""), plan["with_validation"]) for plan in plans)
    assert bases == [("", False), ("cnn_custom@1", False), ("cnn_custom@1", True)]
    third = command_line("study", drawn, *common, "--recipe=robust", "--base=cnn_custom")
    assert (third.returncode, "validation part" in third.stderr) == (1, True)

    shutil.rmtree(work)
    assured = command_line(
        "models", "assure", "cnn_custom@2", drawn, f"--work={work}",
        HEMOTRIAGE_MODELS_DIR=str(models),
    )  # fmt: skip
    assert assured.returncode == 0, assured.stderr
    (path,) = work.glob("*/run.json")
    assert json.loads(path.read_text())["plan"]["base"] == "cnn_custom@1", "as its sibling began"


@pytest.mark.exhaustive
@pytest.mark.slow
def test_an_export_that_is_killed_leaves_no_version(drawn: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    study = ["study", str(drawn), "--models=cnn_custom", "--seeds=1", "--max-epochs=1"]
    study += ["--images-per-class=8", "--no-robustness", "--no-gate", "--no-explanations"]
    study += [f"--work={tmp_path / 'work'}", f"--models-dir={models}", "--version=1"]
    first = subprocess.Popen([sys.executable, "-m", "services.cli", *study])
    eventually((models / "cnn_custom/1.draft/card.json").exists, 120)
    first.kill()
    first.wait()
    assert not (models / "cnn_custom/1").exists(), "it was killed too late"
    assert ModelRegistry(models).versions() == []

    again = command_line(*study)
    assert again.returncode == 0, again.stderr
    assert [path.name for path in (models / "cnn_custom").iterdir()] == ["1"]
    (version,) = ModelRegistry(models).versions()
    assert version.card["metrics"]["images"] == 8


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_version_that_is_assured_by_a_killed_process_still_loads(
    drawn: Path, tmp_path: Path
) -> None:
    models, work = tmp_path / "models", tmp_path / "work"
    study = ["study", drawn, "--models=cnn_custom", "--seeds=1", "--max-epochs=1", "--version=1"]
    study += ["--images-per-class=8", "--no-robustness", "--no-gate", "--no-explanations"]
    assert command_line(*study, f"--work={work}", f"--models-dir={models}").returncode == 0
    folder = models / "cnn_custom" / "1"
    card = json.loads((folder / "card.json").read_text())
    fresh = folder / card["artefacts"]["reference"]["file"]
    fresh.rename(folder / "reference-old.npz")
    card["artefacts"]["reference"]["file"] = "reference-old.npz"
    (folder / "card.json").write_text(json.dumps(card))

    arguments = ["models", "assure", "cnn_custom@1", str(drawn), f"--work={work}"]
    settings = {"HEMOTRIAGE_MODELS_DIR": str(models)}
    command = [sys.executable, "-m", "services.cli", *arguments]
    process = subprocess.Popen(command, env={**os.environ, **settings})
    eventually(fresh.exists, 120)
    process.kill()
    process.wait()
    predicted = command_line(
        "predict", next(drawn.rglob("*.png")), "--model=cnn_custom", **settings
    )
    assert predicted.returncode == 0, predicted.stderr

    assert command_line(*arguments, **settings).returncode == 0
    assert list(folder.glob("reference-*.npz")) == [fresh]
    assert Likeness.of(ModelRegistry(models).resolve("cnn_custom")).features is not None


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


@pytest.mark.dataset
@pytest.mark.exhaustive
def test_the_shipped_model_does_what_its_card_says(dataset: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    page = tmp_path / "report.html"
    others = [str(dataset.parent.parent / "ood" / name) for name in ("bccd", "jtsc")]
    done = command_line(
        "evaluate",
        dataset,
        "--protocol=grouped",
        f"--json={report}",
        f"--html={page}",
        *(f"--foreign={other}" for other in others),
    )
    assert done.returncode == 0, done.stderr
    card = ModelRegistry(InferenceSettings().models_dir).resolve("champion").card
    found = json.loads(report.read_text())
    assert found["measured_on"]["dataset_version"] == card["data"]["version"]
    assert found["measured_on"]["split"]["hash"] == card["split"]["hash"]
    assert found["metrics"]["confusion_matrix"] == card["metrics"]["confusion_matrix"]
    assert found["metrics"]["accuracy"]["value"] >= 0.985
    assert "colour alone" in page.read_text()

    assert found["metrics"]["calibration"]["after"]["ece"] <= 0.015
    review = found["review"]
    assert review["unreviewed"]["coverage"] >= 0.95
    assert review["unreviewed"]["errors"]["value"] <= 0.002
    assert review["flagged_as_unlike"]["value"] <= 0.03
    assert review["malignant_as_routine"]["count"] == 0
    for other in others:
        assert found["foreign"][other]["reviewed"]["value"] >= 0.95
        assert found["foreign"][other]["routine"]["count"] == 0


def test_predict_walks_folders_and_tells_what_it_could_not_read(
    drawn: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "empty.png").touch()
    draw_smear(1).save(tmp_path / "good.png")
    out = tmp_path / "out.jsonl"
    done = command_line("predict", drawn, tmp_path, f"--jsonl={out}")
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert done.returncode == 1, "a file could not be read"
    errors = {Path(line["file"]).name: line["error"]["code"] for line in lines if "error" in line}
    good = [line for line in lines if "error" not in line]
    champion = ModelRegistry(InferenceSettings().models_dir).aliases()["champion"]
    assert errors["empty.png"] == "empty_file"
    assert "notes.txt" not in errors
    assert len(good) == 41
    for line in good:
        assert list(line["probabilities"]) == [str(label) for label in LABELS]
        assert line["urgency"] in ("urgent", "priority", "review", "routine")
        assert f"{line['model']['name']}@{line['model']['version']}" == champion


def test_predict_writes_lines_to_standard_output(drawn: Path) -> None:
    for arguments in ((drawn, "--jsonl"), ("--jsonl", drawn), (drawn,)):
        done = command_line("predict", *arguments)
        assert done.returncode == 0, done.stderr
        assert len([json.loads(line) for line in done.stdout.splitlines()]) == 40


def test_models_are_listed_and_shown(tmp_path: Path) -> None:
    assert "champion" in command_line("models", "list").stdout
    shown = json.loads(command_line("models", "show", "cnn_custom").stdout)
    assert shown["parameters"] == 127_300
    page = tmp_path / "card.html"
    assert command_line("models", "show", "cnn_custom", f"--html={page}").returncode == 0
    assert "cnn_custom" in page.read_text()
    assert "<svg" in page.read_text()
    unknown = command_line("models", "show", "no_such")
    assert (unknown.returncode, unknown.stdout) == (1, "")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    done = command_line(command, "--help")
    assert done.returncode == 0
    assert "Usage:" in done.stdout
