"""`hemotriage models export`: one file in the format that is asked for, or none."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from shared.local.synthetic import draw_smear
from shared.models.formats import Format
from shared.settings import InferenceSettings
from tests.command_line import command_line


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A copy of the shipped cnn_custom@1, to be changed."""
    copy = tmp_path / "models"
    shutil.copytree(InferenceSettings().models_dir / "cnn_custom", copy / "cnn_custom")
    return copy


def change_card(models: Path, **changes: object) -> None:
    path = models / "cnn_custom/1/card.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough drawn fields for int8, and a file that is no image."""
    folder = tmp_path_factory.mktemp("fields")
    for index in range(100):
        field = draw_smear(index, red_cells=20)
        (folder / f"class{index % 4}").mkdir(exist_ok=True)
        field.save(folder / f"class{index % 4}/{index}.png")
    (folder / "manifest.csv").write_text("file,group\n")
    return folder


@pytest.mark.parametrize(
    "target",
    [
        Format.ONNX_F16,
        *(
            pytest.param(target, marks=pytest.mark.exhaustive)
            for target in (Format.KERAS, Format.ONNX, Format.TFLITE)
        ),
    ],
)
def test_a_version_is_exported_and_compared_on_drawn_fields(target: str, tmp_path: Path) -> None:
    out = tmp_path / "exports/model.bin"
    done = command_line("models", "export", "cnn_custom@1", f"--format={target}", f"--out={out}")
    assert done.returncode == 0, done.stderr
    assert hashlib.sha256(out.read_bytes()).hexdigest() in done.stdout
    assert f"{out.stat().st_size:,} bytes" in done.stdout
    assert "parity on 16 drawn fields: 16 labels equal" in done.stdout


def test_what_a_version_ships_is_copied(tmp_path: Path) -> None:
    out = tmp_path / "model.onnx"
    done = command_line("models", "export", "cnn_custom@1", "--format=onnx", f"--out={out}")
    shipped = InferenceSettings().models_dir / "cnn_custom/1/model.onnx"
    assert done.returncode == 0, done.stderr
    assert out.read_bytes() == shipped.read_bytes()


@pytest.mark.exhaustive
@pytest.mark.slow
def test_int8_is_calibrated_and_compared_on_the_images_of_a_folder(
    fields: Path, tmp_path: Path
) -> None:
    out = tmp_path / "model.tflite"
    done = command_line(
        "models",
        "export",
        "cnn_custom@1",
        "--format=tflite-int8",
        f"--out={out}",
        f"--images={fields}",
    )
    assert done.returncode == 0, done.stderr
    assert "weights int8" in done.stdout
    assert "parity on 100 images" in done.stdout
    assert out.stat().st_size < 200_000


def test_int8_without_images_is_a_wrong_call(tmp_path: Path) -> None:
    out = tmp_path / "model.tflite"
    done = command_line("models", "export", "cnn_custom@1", "--format=tflite-int8", f"--out={out}")
    assert done.returncode == 2
    assert "--images" in done.stderr
    assert not out.exists()


@pytest.mark.exhaustive
def test_too_few_images_and_unusable_ones_are_told(fields: Path, tmp_path: Path) -> None:
    out, folder = tmp_path / "model.tflite", tmp_path / "few"
    shutil.copytree(fields / "class1", folder)
    call = (
        "models",
        "export",
        "cnn_custom@1",
        "--format=tflite-int8",
        f"--out={out}",
        f"--images={folder}",
    )
    few = command_line(*call)
    assert few.returncode == 1
    assert "dataset_invalid" in few.stderr
    assert "there are 25" in few.stderr
    (folder / "broken.png").write_bytes((folder / "1.png").read_bytes()[:-500])
    broken = command_line(*call)
    assert broken.returncode == 1
    assert "broken.png" in broken.stderr
    shutil.rmtree(folder)
    folder.mkdir()
    assert "There is no image" in command_line(*call).stderr
    assert not out.exists()


@pytest.mark.exhaustive
def test_a_file_that_answers_otherwise_than_keras_is_not_written(
    models: Path, tmp_path: Path
) -> None:
    path, out = models / "cnn_custom/1/model.onnx", tmp_path / "model.onnx"
    graph = onnx.load(path)
    for tensor in graph.graph.initializer:
        if list(tensor.dims) == [256, 4]:
            reversed_classes = numpy_helper.to_array(tensor)[:, ::-1]
            tensor.CopyFrom(
                numpy_helper.from_array(np.ascontiguousarray(reversed_classes), tensor.name)
            )
    data = graph.SerializeToString()
    path.write_bytes(data)
    artefacts = json.loads((models / "cnn_custom/1/card.json").read_text())["artefacts"]
    artefacts["onnx"]["sha256"] = hashlib.sha256(data).hexdigest()
    change_card(models, artefacts=artefacts)
    done = command_line(
        "models", "export", "cnn_custom@1", "--format=onnx", f"--out={out}",
        HEMOTRIAGE_MODELS_DIR=str(models),
    )  # fmt: skip
    assert done.returncode == 1
    assert "model_artefact_invalid" in done.stderr
    assert "labels equal to those of Keras" in done.stderr
    assert not out.exists()


def test_an_ensemble_is_no_single_file(models: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.onnx"
    for version in ("8", "9"):
        shutil.copytree(models / "cnn_custom/1", models / "cnn_custom" / version)
    members = [{"model": f"cnn_custom@{version}", "weight": 1.0} for version in (8, 9)]
    change_card(models, members=members)
    done = command_line(
        "models", "export", "cnn_custom@1", "--format=onnx", f"--out={out}",
        HEMOTRIAGE_MODELS_DIR=str(models),
    )  # fmt: skip
    assert done.returncode == 1
    assert "conflict" in done.stderr
    assert "cnn_custom@8, cnn_custom@9" in done.stderr
    assert not out.exists()
