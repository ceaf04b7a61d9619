"""Curves of deletion and insertion, what they are compared with, and weights that are shuffled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from services.trainer.curves import (
    CELLS,
    SHIFTED,
    STEPS,
    VISIBLE,
    Curves,
    area,
    cells_first,
    mean_with_interval,
    measure_curves,
    shifted,
    summarise_curves,
    turns,
)
from services.trainer.dataset import Sample, load_pixels, read_dataset
from services.trainer.evaluate import Part
from services.trainer.faithfulness import draw_sample, rank_correlations
from services.trainer.randomise import Scope, randomised, shuffle_weights
from services.trainer.robustness import Predict
from shared.explanations.attribution import Attribution, shares
from shared.explanations.method import Method
from shared.imaging import INPUT_SIZE, Pixels
from shared.imaging.decode import to_model_input
from shared.imaging.segment import background_colour, cell_mask
from shared.local.synthetic import draw_smear
from shared.models.precision import FULL
from shared.models.predictor import Predictor
from shared.models.registry import ModelRegistry, ModelVersion
from shared.settings import InferenceSettings
from shared.triage.labels import LABELS

SQUARE = np.s_[60:100, 80:120]
"""All that the synthetic model looks at."""


@pytest.fixture(scope="module")
def images() -> Pixels:
    return np.stack([to_model_input(draw_smear(seed)) for seed in range(3)])


@pytest.fixture(scope="module")
def version() -> ModelVersion:
    return ModelRegistry(InferenceSettings().models_dir).get("cnn_custom", 1)


def looking_at_a_square(image: Pixels) -> Predict:
    """A model that is sure of class 0 as far as the square is as it is in one image."""

    def predict(batch: Pixels) -> NDArray[np.float64]:
        same = (batch[:, *SQUARE] == image[SQUARE]).all(axis=-1).mean(axis=(1, 2))
        return np.stack([same, 1 - same, 0 * same, 0 * same], axis=1)

    return predict


def on_the_square() -> Attribution:
    attribution = np.zeros((INPUT_SIZE, INPUT_SIZE), np.float32)
    attribution[SQUARE] = 1
    return attribution


def areas(image: Pixels, attribution: Attribution, seed: int = 0) -> tuple[float, float]:
    curves = measure_curves(
        looking_at_a_square(image),
        image[np.newaxis],
        np.array([0]),
        attribution[np.newaxis],
        np.random.default_rng(seed),
    )
    return float(area(curves.deletion)[0]), float(area(curves.insertion)[0])


@pytest.fixture
def coloured(images: Pixels) -> Pixels:
    """An image whose every pixel differs from its background."""
    noise = np.random.default_rng(0).integers(0, 120, images[0].shape, dtype=np.uint8)
    noise[200:, :100] = 255  # the background, most of what is no cell
    noise[:, 130:180] = 255
    return noise


def test_a_perfect_attribution_falls_at_once_and_rises_at_once(coloured: Pixels) -> None:
    deletion, insertion = areas(coloured, on_the_square())
    # The square is less than a step: one half of the first step is all that is left or missing.
    assert deletion == pytest.approx(0.5 / STEPS, abs=0.01)
    assert insertion == pytest.approx(1 - 0.5 / STEPS, abs=0.01)


def test_an_inverted_attribution_falls_last_and_rises_last(coloured: Pixels) -> None:
    deletion, insertion = areas(coloured, 1 - on_the_square())
    assert deletion == pytest.approx(1 - 0.5 / STEPS, abs=0.01)
    assert insertion == pytest.approx(0.5 / STEPS, abs=0.01)


def test_an_attribution_that_says_nothing_lies_between(coloured: Pixels) -> None:
    deletion, insertion = areas(coloured, np.zeros_like(on_the_square()))
    assert deletion == pytest.approx(0.5, abs=0.05)
    assert insertion == pytest.approx(0.5, abs=0.05)


def test_a_seed_repeats_what_chance_decides(coloured: Pixels) -> None:
    nothing = np.zeros_like(on_the_square())
    assert areas(coloured, nothing, 1) == areas(coloured, nothing, 1) != areas(coloured, nothing, 2)


def test_each_step_takes_a_tenth_of_what_is_visible_and_nothing_of_the_corner() -> None:
    attribution = np.random.default_rng(0).random((INPUT_SIZE, INPUT_SIZE)).astype(np.float32)
    turn = turns(attribution, np.random.default_rng(0))
    counts = np.bincount(turn.ravel())
    assert counts[0] == 40 * 40
    assert counts[1:].max() - counts[1:].min() <= 1
    assert len(counts) == STEPS + 1
    assert attribution[turn == 1].min() > attribution[turn == STEPS].max()


def test_curves_end_on_a_field_of_plasma_with_its_corner_as_it_was(images: Pixels) -> None:
    seen: list[Pixels] = []

    def predict(batch: Pixels) -> NDArray[np.float64]:
        seen.append(batch)
        return np.full((len(batch), 4), 0.25)

    maps = cells_first(images[:1])
    measure_curves(predict, images[:1], np.array([0]), maps, np.random.default_rng(0))
    deleted, inserted = seen[0][: STEPS + 1], seen[0][STEPS + 1 :]
    for first, last in ((deleted[0], inserted[-1]), (deleted[-1], inserted[0])):
        assert np.array_equal(first, last)
    assert np.array_equal(deleted[0], images[0])
    assert (deleted[-1][VISIBLE] == background_colour(images[0])).all()
    assert np.array_equal(deleted[-1][~VISIBLE], images[0][~VISIBLE])
    for gone, come in zip(deleted, inserted, strict=True):
        assert ((gone == images[0]) | (come == images[0])).all()


def test_the_background_is_lighter_than_any_cell(images: Pixels) -> None:
    for image in images:
        assert background_colour(image).mean() > image[cell_mask(image)].mean(axis=1).max()


def test_shifted_maps_keep_their_values_and_lose_their_place() -> None:
    maps = np.stack([on_the_square()] * 8)
    moved = shifted(maps, np.random.default_rng(0))
    assert (moved.sum(axis=(1, 2)) == maps.sum(axis=(1, 2))).all()
    assert (moved[:, *SQUARE] == 0).all()
    assert len({one.tobytes() for one in moved}) == len(maps)
    assert np.array_equal(moved, shifted(maps, np.random.default_rng(0)))


def test_cells_come_before_all_else(images: Pixels) -> None:
    for image, depth in zip(images, cells_first(images), strict=True):
        cells = cell_mask(image)
        assert depth[cells].min() > 0 > depth[~cells].max()
    empty = np.full((1, INPUT_SIZE, INPUT_SIZE, 3), 240, np.uint8)
    assert np.ptp(cells_first(empty)) == 0


def test_the_verdict_is_better_only_where_the_interval_says_so() -> None:
    rng = np.random.default_rng(0)
    spread = rng.normal(0, 0.05, (40, 1))
    falling = np.linspace(1, 0, STEPS + 1)
    slow = np.clip(falling + spread, 0, 1)
    noise = np.clip(falling + rng.normal(0, 0.05, (40, 1)), 0, 1)
    measured = {
        Method.GRADCAM: Curves(deletion=slow**3, insertion=slow[:, ::-1]),
        SHIFTED: Curves(deletion=slow, insertion=noise[:, ::-1]),
        CELLS: Curves(deletion=slow**4, insertion=slow[:, ::-1] ** 2),
    }
    early = np.arange(40) < 20
    said = summarise_curves(measured, {"Early": early, "Pro": ~early})
    verdicts = {
        kind: [gain["verdict"] for gain in gains.values()] for kind, gains in said["gains"].items()
    }
    assert verdicts == {"deletion": ["better", "worse"], "insertion": ["not told apart", "better"]}
    own = said["deletion"][Method.GRADCAM]["area"]
    classes = [figure["mean"] for figure in own["per_class"].values()]
    assert np.mean(classes) == pytest.approx(own["mean"])
    assert said["blank"]["mean"] == pytest.approx((slow[:, -1] ** 3).mean())


def test_an_interval_is_that_of_the_mean_and_none_for_one_image() -> None:
    low, high = mean_with_interval(np.array([0.1, 0.2, 0.3]))["interval95"]
    assert (low, high) == pytest.approx((0.2 - 0.2484, 0.2 + 0.2484), abs=1e-4)  # t of 2 is 4.303
    assert mean_with_interval(np.array([0.1])) == {"mean": 0.1, "interval95": None}


def test_a_sample_has_no_two_images_of_one_group() -> None:
    samples = tuple(
        Sample(Path(f"{label}/{index}.png"), label, f"{label}{index}", f"{label}-{index // 4}")
        for label in LABELS
        for index in range(12)
    )
    pixels = np.arange(48, dtype=np.uint8).repeat(3).reshape(48, 1, 1, 3)
    part = Part(samples, pixels, np.repeat(np.arange(4), 12), {})
    drawn = draw_sample(part, 2, seed=0)
    assert np.bincount(drawn.labels).tolist() == [2, 2, 2, 2]
    assert len({sample.group for sample in drawn.samples}) == 8
    assert [int(image[0, 0, 0]) for image in drawn.images] == [
        samples.index(sample) for sample in drawn.samples
    ]
    assert len(draw_sample(part, 16, seed=0).samples) == 12, "no class has more than three groups"
    assert draw_sample(part, 2, seed=0).samples == drawn.samples
    assert draw_sample(part, 2, seed=1).samples != drawn.samples


def test_maps_are_compared_by_ranks_and_an_even_one_has_none() -> None:
    first = np.random.default_rng(0).random((1, INPUT_SIZE, INPUT_SIZE)).astype(np.float32)
    assert rank_correlations(first, first**3)[0] == pytest.approx(1)
    assert rank_correlations(first, 1 - first)[0] == pytest.approx(-1)
    other = np.random.default_rng(1).random(first.shape).astype(np.float32)
    assert abs(rank_correlations(first, other)[0]) < 0.05
    assert np.isnan(rank_correlations(first, np.zeros_like(first))[0])


def test_an_attribution_on_the_cells_has_all_of_its_share_there(images: Pixels) -> None:
    image = images[0]
    cells = cell_mask(image)
    exact, inverted = (shares(one.astype(np.float32), image) for one in (cells, ~cells))
    assert (exact.on_cells, inverted.on_cells) == (1, 0)
    even = shares(np.ones(cells.shape, np.float32), image)
    assert even.on_cells == pytest.approx(even.chance)
    assert even.hidden == pytest.approx((~VISIBLE).mean())


def kernels(version: ModelVersion) -> dict[str, NDArray[Any]]:
    graph = onnx.load(version.artefact_path("onnx"))
    return {one.name: numpy_helper.to_array(one) for one in graph.graph.initializer}


@pytest.mark.parametrize(("scope", "changed"), [(Scope.HEAD, 2), (Scope.ALL, 5)])
def test_a_shuffled_copy_has_the_same_values_elsewhere(
    version: ModelVersion, tmp_path: Path, scope: Scope, changed: int
) -> None:
    before, after = kernels(version), kernels(randomised(version, tmp_path, scope, 0))
    moved = [name for name in before if not np.array_equal(before[name], after[name])]
    assert len(moved) == changed
    for name in before:
        assert before[name].shape == after[name].shape
        assert np.array_equal(np.sort(before[name], axis=None), np.sort(after[name], axis=None))


def test_a_seed_repeats_a_shuffle(version: ModelVersion, tmp_path: Path) -> None:
    hashes = [
        randomised(version, tmp_path / str(index), Scope.ALL, seed).sha256("onnx")
        for index, seed in enumerate((1, 1, 2))
    ]
    assert hashes[0] == hashes[1] != hashes[2]


def test_weights_behind_a_cast_are_found_as_those_of_the_head() -> None:
    version = ModelRegistry(InferenceSettings().models_dir).get("student", 2)
    graph = onnx.load(version.artefact_path("onnx"))
    before = {one.name: one.SerializeToString() for one in graph.graph.initializer}
    shuffle_weights(graph, Scope.HEAD, np.random.default_rng(0))
    moved = {
        one.name for one in graph.graph.initializer if one.SerializeToString() != before[one.name]
    }
    assert len(moved) == 2
    assert all(name.endswith("_float16") for name in moved)
    assert all("dense" in name or "probabilities" in name for name in moved)


def test_shuffled_members_make_an_ensemble_that_predicts_and_explains_otherwise(
    images: Pixels, tmp_path: Path
) -> None:
    settings = InferenceSettings()
    version = ModelRegistry(settings.models_dir).get("ensemble", 1)
    copy = randomised(version, tmp_path, Scope.ALL, 0)
    predictor = Predictor.load_in(FULL, copy, settings, maps=True)
    assert [member.name for member in predictor.members] == ["efficientnet_lite0"] * 3
    assert len({member.sha256 for member in predictor.members}) == 3
    labels = np.zeros(len(images), dtype=np.int64)
    found = predictor.predict(images[:1]).calibrated
    assert found.sum() == pytest.approx(1)
    original = Predictor.load_in(FULL, version, settings, maps=True)
    assert np.abs(found - original.predict(images[:1]).calibrated).max() > 0.05
    maps = predictor.grad_cam(images, labels)
    assert maps.shape == (len(images), INPUT_SIZE, INPUT_SIZE)
    assert not np.allclose(maps, original.grad_cam(images, labels), atol=0.05)


@pytest.mark.dataset
def test_the_small_network_looks_at_cells_more_than_chance_would(
    version: ModelVersion, dataset: Path
) -> None:
    samples = read_dataset(dataset).samples
    early = [sample for sample in samples if sample.label is LABELS[1]][:8]
    pixels = load_pixels(tuple(early))
    predictor = Predictor.load_in(FULL, version, InferenceSettings(), maps=True)
    predicted = predictor.predict(pixels).calibrated.argmax(axis=1)
    maps = predictor.grad_cam(pixels, predicted)
    found = [shares(one, image) for one, image in zip(maps, pixels, strict=True)]
    assert np.mean([one.on_cells for one in found]) > 2 * np.mean([one.chance for one in found])
