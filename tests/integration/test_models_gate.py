"""`hemotriage models gate`, and the gate of an export: a precision without a verdict is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from services.trainer.dataset import read_dataset
from services.trainer.evaluate import read_part
from services.trainer.gate import LIMITS, ask_gate
from services.trainer.splits import Protocol
from shared.models.engines import supported_precisions
from shared.models.precision import LOWER, Precision, verdicts
from shared.models.registry import ModelRegistry, ModelVersion
from shared.settings import InferenceSettings
from tests.command_line import command_line

pytestmark = [pytest.mark.slow, pytest.mark.exhaustive]


@pytest.fixture(scope="module")
def models(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with one version that was just registered."""
    folder = tmp_path_factory.mktemp("models")
    study = ["study", drawn, "--models=cnn_custom", "--seeds=1", "--max-epochs=1"]
    study += ["--images-per-class=8", "--no-robustness", "--no-explanations"]
    study.append("--version=1")
    done = command_line(*study, f"--work={folder / 'work'}", f"--models-dir={folder}")
    assert done.returncode == 0, done.stderr
    return folder


def version_in(models: Path) -> ModelVersion:
    return ModelRegistry(models).resolve("cnn_custom")


def predict(models: Path, drawn: Path, precision: str) -> tuple[int, str, str]:
    done = command_line(
        "predict", next(drawn.rglob("*.png")), "--jsonl",
        HEMOTRIAGE_MODELS_DIR=str(models), HEMOTRIAGE_PRECISION=precision,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def give_verdict(models: Path, *, passed: bool) -> None:
    """On int8; a machine with bfloat16 gave one on that too, which is refused."""
    version = version_in(models)
    for precision, verdict in version.card["precisions"]["openvino"].items():
        verdict["passed"] = passed and precision == "int8"
    (version.folder / "card.json").write_text(json.dumps(version.card))


def test_a_registered_version_has_an_int8_form_and_a_verdict(models: Path) -> None:
    version = version_in(models)
    verdict = version.card["precisions"]["openvino"]["int8"]
    assert verdict["images"] == 8
    assert verdict["images_needed"] == LIMITS.least_images
    assert not verdict["passed"], "eight images show nothing"
    assert verdict["measured_on"]["split"]["hash"] == version.card["split"]["hash"]
    assert set(verdict["speed"]) == {"f32", "int8"}
    sizes = {k: a["bytes"] for k, a in version.card["artefacts"].items()}
    assert version.artefact_path("openvino_int8_weights").stat().st_size < sizes["onnx"]
    assert not list(version.folder.glob("*.new"))


def test_the_verdict_decides_what_runs(models: Path, drawn: Path, tmp_path: Path) -> None:
    copy = tmp_path / "models"
    shutil.copytree(models, copy)
    (copy / "aliases.json").write_text('{"champion": "cnn_custom@1"}')
    for passed, best in ((True, "int8"), (False, "f32")):
        give_verdict(copy, passed=passed)
        code, out, _ = predict(copy, drawn, "best")
        assert (code, json.loads(out)["model"]["precision"]) == (0, best)
        code, out, error = predict(copy, drawn, "int8")
        assert code == (0 if passed else 1)
        assert passed or ("no passed verdict" in error and not out)


def test_an_altered_int8_form_is_refused(models: Path, drawn: Path, tmp_path: Path) -> None:
    copy = tmp_path / "models"
    shutil.copytree(models, copy)
    (copy / "aliases.json").write_text('{"champion": "cnn_custom@1"}')
    give_verdict(copy, passed=True)
    path = version_in(copy).artefact_path("openvino_int8_weights")
    path.write_bytes(path.read_bytes() + b"\0")
    code, _, error = predict(copy, drawn, "best")
    assert code == 1
    assert "another SHA-256" in error


def test_a_version_is_gated_again_from_the_images_of_its_split(models: Path, drawn: Path) -> None:
    before = version_in(models).card
    done = command_line("models", "gate", "cnn_custom", drawn, HEMOTRIAGE_MODELS_DIR=str(models))
    after = version_in(models).card
    given = after["precisions"]["openvino"]
    verdict = given["int8"]
    assert done.returncode == (0 if all(v["passed"] for v in given.values()) else 1), done.stderr
    assert f"{verdict['labels_changed']} of 8 labels changed" in done.stdout
    assert verdict["asked_at"] > before["precisions"]["openvino"]["int8"]["asked_at"]
    assert {**after, "precisions": None} == {**before, "precisions": None}


def test_other_images_are_refused(drawn: Path) -> None:
    done = command_line("models", "gate", "cnn_custom@1", drawn)
    assert done.returncode == 1
    assert "does not give the split" in done.stderr


def test_one_precision_alone_can_be_asked_for(models: Path, drawn: Path) -> None:
    before = version_in(models).card["precisions"]["openvino"]
    settings = {"HEMOTRIAGE_MODELS_DIR": str(models)}
    done = command_line("models", "gate", "cnn_custom", drawn, "--precision=bf16", **settings)
    after = version_in(models).card["precisions"]["openvino"]
    assert after["int8"] == before["int8"]
    if "bf16" in supported_precisions("openvino"):
        assert after["bf16"]["asked_at"] > before["bf16"]["asked_at"]
    else:
        assert "does not compute in bf16 on this machine" in done.stdout
        assert done.returncode == 0


def gated() -> list[tuple[ModelVersion, Precision]]:
    """Shipped versions with the lower precisions that they may run in."""
    shipped = ModelRegistry(InferenceSettings().models_dir).versions()
    return [
        (version, precision)
        for version in shipped
        for precision in LOWER
        if verdicts(version, "openvino").get(precision, {}).get("passed")
    ]


@pytest.mark.dataset
@pytest.mark.parametrize(("version", "precision"), gated(), ids=str)
def test_a_shipped_verdict_holds_on_this_machine(
    version: ModelVersion, precision: Precision, dataset: Path
) -> None:
    if precision not in supported_precisions("openvino"):
        pytest.skip(f"this processor has no {precision}")
    split = version.card["split"]
    part = read_part(
        read_dataset(dataset), protocol=Protocol(split["protocol"]), seed=split["seed"]
    )
    verdict = ask_gate(precision, version, part, InferenceSettings())
    assert verdict["images"] == split["counts"]["test"]
    assert verdict["urgent_lowered"] == 0
    assert verdict["labels_changed"] <= verdict["labels_allowed"]
    assert verdict["largest_difference"] <= LIMITS.largest_difference
