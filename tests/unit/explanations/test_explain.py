"""An explanation is a picture and figures, of the predicted class or of another."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from shared.explanations import lime
from shared.explanations.attribution import shares
from shared.explanations.explain import Explanation, explain
from shared.explanations.method import Method
from shared.imaging.decode import load_model_input, to_model_input
from shared.local.synthetic import SYNTHETIC_SMEAR, draw_smear
from shared.models.precision import FULL
from shared.models.predictor import Predictor
from shared.models.registry import ModelRegistry
from shared.settings import InferenceSettings
from shared.triage.labels import LABELS, Label
from tests.command_line import command_line
from tests.factories import smear_bytes

FIELD = draw_smear(1)
SAMPLES = 32


def load(model: str, *, maps: bool = True) -> Predictor:
    settings = InferenceSettings()
    version = ModelRegistry(settings.models_dir).resolve(model)
    return Predictor.load_in(FULL, version, settings, maps=maps)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return load("cnn_custom@1")


@pytest.fixture(autouse=True)
def few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lime, "SAMPLES", SAMPLES)


def size_of(explanation: Explanation) -> tuple[int, int]:
    with Image.open(io.BytesIO(explanation.png)) as picture:
        picture.load()
        return picture.size


def without_time(explanation: Explanation) -> dict[str, Any]:
    return {k: v for k, v in explanation.document.items() if k != "milliseconds"}


def test_grad_cam_explains_the_predicted_class(predictor: Predictor) -> None:
    pixels = to_model_input(FIELD)
    probabilities = predictor.predict(pixels[np.newaxis]).calibrated[0]
    index = int(probabilities.argmax())
    raw = predictor.grad_cam(pixels[np.newaxis], np.array([index]))[0]
    found = explain(predictor, FIELD, Method.GRADCAM)
    expected = shares(raw, pixels)
    width, height = size_of(found)
    assert without_time(found) == {
        "version": "1",
        "method": "gradcam",
        "model": "cnn_custom@1",
        "engine": "openvino",
        "precision": "f32",
        "label": LABELS[index],
        "probability": pytest.approx(probabilities[index]),
        "attribution": {
            "on_cells": pytest.approx(expected.on_cells, abs=1e-4),
            "chance": pytest.approx(expected.chance, abs=1e-4),
            "hidden": pytest.approx(expected.hidden, abs=1e-4),
        },
        "width": width,
        "height": height,
    }
    assert found.document["milliseconds"] > 0


def test_lime_says_how_it_came_about_and_how_far_grad_cam_agrees(predictor: Predictor) -> None:
    found = explain(predictor, FIELD, Method.LIME, seed=3).document
    assert found["method"] == "lime"
    assert found["lime"]["samples"] == SAMPLES
    assert found["lime"]["seed"] == 3
    assert 20 <= found["lime"]["superpixels"] <= 80
    assert found["lime"]["score"] <= 1
    assert found["agreement"]["with"] == "gradcam"
    assert -1 <= found["agreement"]["spearman"] <= 1
    assert found["attribution"]["hidden"] == 0, "nothing is hidden or shown there"


@pytest.mark.parametrize("label", LABELS)
def test_any_class_can_be_asked_for(predictor: Predictor, label: Label) -> None:
    probabilities = predictor.predict(to_model_input(FIELD)[np.newaxis]).calibrated[0]
    found = explain(predictor, FIELD, Method.GRADCAM, label).document
    assert found["label"] == label
    assert found["probability"] == pytest.approx(probabilities[LABELS.index(label)])


@pytest.mark.parametrize("method", Method)
def test_the_same_seed_gives_the_same_explanation(predictor: Predictor, method: Method) -> None:
    first, again = (explain(predictor, FIELD, method, seed=5) for _ in range(2))
    assert first.png == again.png
    assert without_time(first) == without_time(again)


@pytest.mark.parametrize("method", Method)
def test_progress_rises_to_one(predictor: Predictor, method: Method) -> None:
    told: list[float] = []
    explain(predictor, FIELD, method, progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 1
    assert all(0 < share < 1 for share in told[:-1])
    assert len(told) == (1 if method is Method.GRADCAM else 1 + SAMPLES // 16)


@pytest.mark.parametrize("size", [(640, 480), (100, 300), (2000, 2000)])
def test_a_field_of_any_size_has_a_picture(predictor: Predictor, size: tuple[int, int]) -> None:
    found = explain(predictor, FIELD.resize(size), Method.GRADCAM)
    assert size_of(found) == (found.document["width"], found.document["height"])
    assert found.document["width"] == 1016


def test_a_field_without_a_cell_has_an_explanation(predictor: Predictor) -> None:
    plain = Image.new("RGB", (300, 300), (238, 241, 247))
    for method in Method:
        figures = explain(predictor, plain, method).document["attribution"]
        assert figures["on_cells"] == figures["chance"] == 0


def test_a_predictor_without_maps_explains_nothing() -> None:
    with pytest.raises(ValueError, match="loaded with maps"):
        explain(load("cnn_custom", maps=False), FIELD, Method.GRADCAM)


def test_grad_cam_loads_nothing_of_what_lime_needs() -> None:
    program = (
        "import sys, shared.explanations.explain\n"
        "print(*{'lime', 'sklearn', 'skimage', 'scipy', 'tensorflow'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_the_command_draws_a_picture_a_file_and_prints_a_line(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(smear_bytes()[:-500])
    (tmp_path / "text.jpg").write_bytes(b"no image")
    out = tmp_path / "out"
    names = ("broken.png", "text.jpg")
    files = [SYNTHETIC_SMEAR, *(tmp_path / name for name in names)]
    options = ("--model", "cnn_custom@1", "--label", "Pro", "--out-dir", out)
    done = command_line("explain", *files, *options)
    assert done.returncode == 1
    good, *bad = [json.loads(line) for line in done.stdout.splitlines()]
    picture = out / "synthetic_smear.gradcam.png"
    assert (good["file"], good["picture"]) == (str(SYNTHETIC_SMEAR), str(picture))
    assert (good["label"], good["model"]) == ("Pro", "cnn_custom@1")
    with Image.open(picture) as drawn:
        assert drawn.size == (good["width"], good["height"])
    assert [line["error"]["code"] for line in bad] == ["corrupt_image", "unsupported_media_type"]
    assert [path.name for path in out.iterdir()] == [picture.name]


def test_the_command_refuses_to_draw_two_files_to_one_picture(tmp_path: Path) -> None:
    files = [tmp_path / "a.png", tmp_path / "a.bmp"]
    for file in files:
        FIELD.save(file)
    done = command_line("explain", *files, "--out-dir", tmp_path)
    assert done.returncode == 2
    assert "a.gradcam.png" in done.stderr


def test_the_command_refuses_to_draw_over_what_it_is_given(tmp_path: Path) -> None:
    files = [tmp_path / "a.png", tmp_path / "a.gradcam.png"]
    for file in files:
        FIELD.save(file)
    before = files[1].read_bytes()
    done = command_line("explain", *files, "--out-dir", tmp_path)
    assert done.returncode == 2
    assert "a.gradcam.png" in done.stderr
    assert files[1].read_bytes() == before


@pytest.mark.dataset
def test_on_real_fields_the_small_network_looks_at_cells_more_than_by_chance(
    predictor: Predictor, dataset: Path
) -> None:
    for label in LABELS:
        files = sorted((dataset / label).iterdir())[::50]
        images = np.stack([load_model_input(file, max_pixels=10**6) for file in files])
        labels = np.full(len(images), LABELS.index(label))
        maps = predictor.grad_cam(images, labels)
        found = [shares(one, image) for one, image in zip(maps, images, strict=True)]
        assert sum(share.on_cells for share in found) > sum(share.chance for share in found), label
