"""`hemotriage models explain`, and the explanations of an export: how faithful they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shared.models.registry import ModelRegistry
from tests.command_line import command_line

pytestmark = [pytest.mark.exhaustive, pytest.mark.slow]


@pytest.fixture(scope="module")
def models(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with one version that was just registered."""
    folder = tmp_path_factory.mktemp("models")
    study = ["study", drawn, "--models=cnn_custom", "--seeds=1", "--max-epochs=1", "--version=1"]
    study += ["--images-per-class=8", "--no-robustness", "--no-gate"]
    done = command_line(*study, f"--work={folder / 'work'}", f"--models-dir={folder}")
    assert done.returncode == 0, done.stderr
    return folder


def card_in(models: Path) -> dict[str, Any]:
    return ModelRegistry(models).resolve("cnn_custom").card


def test_a_registered_version_says_how_faithful_its_explanations_are(models: Path) -> None:
    card = card_in(models)
    found = card["explanation"]
    assert found["images_per_class"] == {"Benign": 2, "Early": 2, "Pre": 2, "Pro": 2}
    assert found["measured_on"]["split"]["hash"] == card["split"]["hash"]
    assert found["precision"] == "f32"
    assert found["attribution"]["hidden_corner"]["as_served"] == 0
    assert found["attribution"]["images_above_chance"]["of"] == 8
    version = ModelRegistry(models).resolve("cnn_custom")
    assert version.artefact_path("cases").is_file()
    for scope in ("head", "all"):
        assert found["randomised"][scope]["maps"] == 3 * 8
    for kind in ("deletion", "insertion"):
        assert set(found["curves"][kind]) == {"gradcam", "shifted", "cells"}
        assert set(found["curves"]["gains"][kind]) == {"shifted", "cells"}


def test_a_version_is_explained_again_from_fewer_images(models: Path, drawn: Path) -> None:
    before = card_in(models)
    done = command_line(
        "models", "explain", "cnn_custom", drawn, "--images-per-class=1",
        HEMOTRIAGE_MODELS_DIR=str(models),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "cnn_custom@1, 4 held-out images" in done.stdout
    assert "area under deletion" in done.stdout
    nearest = before["cases"]["nearest_has_the_true_label"]["count"]
    assert f"has the true label in {nearest} of 8 held-out images" in done.stdout
    after = card_in(models)
    assert after["explanation"]["images"] == 4
    assert (
        after["explanation"]["curves"]["deletion"]["gradcam"]["area"]["per_class"]["Pro"][
            "interval95"
        ]
        is None
    )
    assert {**after, "explanation": None} == {**before, "explanation": None}
    json.dumps(after, allow_nan=False)


def test_the_page_of_its_card_shows_them(models: Path, tmp_path: Path) -> None:
    page = tmp_path / "card.html"
    shown = command_line(
        "models", "show", "cnn_custom", f"--html={page}", HEMOTRIAGE_MODELS_DIR=str(models)
    )
    assert shown.returncode == 0, shown.stderr
    assert 'aria-label="Deletion and insertion curves"' in page.read_text()
