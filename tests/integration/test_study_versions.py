"""Versions that come of others, what goes on from one, and what a kill leaves of one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from shared.models.likeness import Likeness
from shared.models.registry import ModelRegistry
from tests.command_line import command_line
from tests.waiting import eventually


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

    def base_of_trained_sibling() -> str:
        shutil.rmtree(work)
        assured = command_line(
            "models", "assure", "cnn_custom@2", drawn, f"--work={work}",
            HEMOTRIAGE_MODELS_DIR=str(models),
        )  # fmt: skip
        assert assured.returncode == 0, assured.stderr
        (path,) = work.glob("*/run.json")
        return str(json.loads(path.read_text())["plan"]["base"])

    assert base_of_trained_sibling() == "cnn_custom@1"
    as_the_service = json.loads((models / "cnn_custom/2/card.json").read_text())
    as_the_service["training"]["base"] = as_the_service["training"]["plan"].pop("base")
    (models / "cnn_custom/2/card.json").write_text(json.dumps(as_the_service))
    assert base_of_trained_sibling() == "cnn_custom@1"


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
