"""The distance that tells a foreign image, on drawn features and on drawn smears."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from services.trainer.likeness import fit_gaussians, unseen_threshold, with_threshold
from shared.errors import ModelArtefactError
from shared.imaging import Pixels
from shared.imaging.colour import PERCENTILES, colour_statistics
from shared.imaging.decode import to_model_input
from shared.local.synthetic import draw_smear
from shared.models.likeness import Gaussians, Likeness
from shared.models.predictor import Predictor
from shared.models.registry import ModelRegistry
from shared.settings import PROJECT_ROOT, InferenceSettings

WIDTH = 40


def drawn(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features in four clusters that fill 10 of 40 dimensions, and their classes."""
    shape = np.random.default_rng(0).standard_normal((10, WIDTH))
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, count)
    centres = 4 * np.eye(10)[labels]
    rows = (centres + rng.standard_normal((count, 10))) @ shape
    return rows + 0.1 * rng.standard_normal((count, WIDTH)) + 5, labels


@pytest.fixture(scope="module")
def fitted() -> Gaussians:
    rows, labels = drawn(2000, seed=1)
    fitted = fit_gaussians(rows, labels, axes=10)
    return with_threshold(fitted, unseen_threshold(fitted, drawn(2000, seed=2)[0], 0.01))


def test_few_images_like_those_of_the_training_are_flagged(fitted: Gaussians) -> None:
    flagged = (fitted.unlikeness(drawn(5000, seed=3)[0]) > 1).mean()
    assert flagged == pytest.approx(0.01, abs=0.006)


def test_what_lies_far_along_the_axes_is_flagged(fitted: Gaussians) -> None:
    rows, _ = drawn(200, seed=3)
    centre = rows.mean(axis=0)
    assert (fitted.unlikeness(centre + 6 * (rows - centre)) > 1).mean() > 0.95


def test_what_lies_outside_the_axes_is_flagged(fitted: Gaussians) -> None:
    rows, _ = drawn(200, seed=3)
    outside = rows + 5 * np.random.default_rng(4).standard_normal(rows.shape)
    assert (fitted.unlikeness(outside) > 1).mean() > 0.95


def test_the_length_of_a_row_does_not_count_where_rows_are_of_length_one(
    fitted: Gaussians,
) -> None:
    rows, labels = drawn(50, seed=5)
    assert np.allclose(fitted.distance(rows), fitted.distance(7 * rows))
    other = fit_gaussians(rows, labels, axes=3, unit=False)
    assert not np.allclose(other.distance(rows), other.distance(7 * rows))


def test_a_row_without_length_is_far_and_finite(fitted: Gaussians) -> None:
    assert np.isfinite(fitted.unlikeness(np.zeros((1, WIDTH)))).all()
    assert fitted.unlikeness(np.zeros((1, WIDTH)))[0] > 1


def test_all_axes_leave_no_rest() -> None:
    rows, labels = drawn(500, seed=1)
    assert fit_gaussians(rows, labels, axes=WIDTH).rest == 0
    assert fit_gaussians(rows, labels, axes=10).rest > 0


def test_an_axis_without_variance_does_no_harm() -> None:
    rows, labels = drawn(500, seed=1)
    rows[:, 3] = 1.0
    distance = fit_gaussians(rows, labels, axes=WIDTH, unit=False).distance(rows)
    assert np.isfinite(distance).all()
    assert np.median(distance) < 3


def test_colour_statistics_are_those_of_the_pixels() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 30, 20, 3), dtype=np.uint8)
    images[1] //= 3
    flat = images.reshape(3, -1, 3).astype(np.float64)
    percentiles = np.percentile(flat, PERCENTILES, axis=1).transpose(1, 0, 2).reshape(3, -1)
    expected = np.concatenate([flat.mean(axis=1), flat.std(axis=1), percentiles], axis=1)
    assert np.abs(colour_statistics(images) - expected).max() < 1e-9
    assert colour_statistics(images[:0]).shape == (0, 21)


def _predictor(folder: Path, model: str) -> Predictor:
    settings = InferenceSettings(models_dir=folder, precision="f32")
    return Predictor.load(ModelRegistry(folder).resolve(model), settings)


def test_a_photograph_is_flagged_and_a_drawn_smear_has_features_near_real_ones() -> None:
    predictor = _predictor(PROJECT_ROOT / "models", "champion")
    noise = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    plain = np.full((1, 224, 224, 3), 128, dtype=np.uint8)
    foreign: Pixels = np.concatenate([noise, plain])
    prediction = predictor.predict(foreign)
    assert prediction.unlikeness is not None
    assert (prediction.unlikeness > 1).all()
    smear = predictor.predict(to_model_input(draw_smear(0))[np.newaxis])
    assert smear.unlikeness is not None
    assert smear.unlikeness[0] < prediction.unlikeness.min()


NOT_ASSURED = {"vgg16_baseline@1", "vgg16_finetune@1"}
"""Their siblings are an hour of two cores; until then each of their results asks for review."""


def test_every_shipped_version_knows_its_training_images() -> None:
    for version in ModelRegistry(PROJECT_ROOT / "models").versions():
        if str(version) in NOT_ASSURED:
            assert Likeness.of(version) == Likeness(), "take it from the list"
            continue
        likeness = Likeness.of(version)
        assert likeness.colours is not None, version
        assert (likeness.features is None) == bool(version.members), version
        assert version.conformal is not None, version
        assert version.card["review"]["flagged_as_unlike"]["of"] == 516
        assert version.card["monitoring"]["images"] == 516


def test_a_version_without_a_reference_knows_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "cnn_custom" / "1"
    shutil.copytree(PROJECT_ROOT / "models" / "cnn_custom" / "1", folder)
    card = json.loads((folder / "card.json").read_text())
    del card["artefacts"]["reference"], card["conformal"]
    (folder / "card.json").write_text(json.dumps(card))
    prediction = _predictor(tmp_path, "cnn_custom").predict(
        to_model_input(draw_smear(0))[np.newaxis]
    )
    assert prediction.unlikeness is None
    assert prediction.sets is None
    assert "input_not_checked" in prediction.evidence(0).flags


def test_an_altered_reference_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "cnn_custom" / "1"
    shutil.copytree(PROJECT_ROOT / "models" / "cnn_custom" / "1", folder)
    (path,) = folder.glob("reference-*.npz")
    path.write_bytes(path.read_bytes() + b"0")
    with pytest.raises(ModelArtefactError, match=r"reference-.*\.npz"):
        _predictor(tmp_path, "cnn_custom")
