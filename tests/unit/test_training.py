"""Training: what is frozen may be cached, and a run that was killed ends as if it had not been."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from services.trainer.batches import cycle, fixed, fresh, in_order, one_hot
from services.trainer.dataset import label_indices, load_pixels, read_dataset
from services.trainer.features import FeatureCache
from services.trainer.loop import compile_model, run_epochs
from services.trainer.plan import Recipe, TrainingPlan, make_plan
from services.trainer.splits import Protocol, Split, split_dataset
from services.trainer.train import Tools, drawn_once, load_images, train
from shared.errors import BadRequestError
from shared.imaging.segment import cell_mask
from shared.local.synthetic import draw_smear
from shared.models.architectures import build
from shared.models.pretrained import PretrainedWeights
from tests.factories import class_folders
from tests.waiting import eventually

HEAD_TOLERANCE, BLOCK_TOLERANCE = 0.05, 0.25
"""Largest difference between cached and end-to-end training, in parts of how far training moves.

Two trainings that have nothing in common differ by more than 1. The cache keeps features in half
precision, whose steps are 5e-4 of a value; and where a gradient is next to nothing, Adam makes a
whole step of its sign, which those decide for a part of block 5.
"""


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    """Five drawn fields a class: three to train, one to validate, one to test."""
    root = class_folders(tmp_path_factory.mktemp("drawn") / "images", 5)
    return split_dataset(read_dataset(root, groups="none"), Protocol.GROUPED, 1)


def a_plan(architecture: str, recipe: Recipe = Recipe.STUDY, **values: object) -> TrainingPlan:
    return make_plan(
        architecture, recipe, **{"images_per_class": 4, "max_epochs": 2, "batch_size": 8, **values}
    )


@pytest.mark.slow
def test_what_trains_in_bfloat16_is_kept_in_float32(split: Split, tmp_path: Path) -> None:
    plan = a_plan("cnn_custom", precision="mixed_bfloat16", max_epochs=1)
    tools = Tools(PretrainedWeights(None), FeatureCache(tmp_path / "features"))
    kept = train(plan, split, tmp_path / "run", tools).model
    fresh_one = build("cnn_custom")
    assert keras.mixed_precision.global_policy().name == "float32"
    assert [type(layer) for layer in kept.layers] == [type(layer) for layer in fresh_one.layers]
    assert {layer.compute_dtype for layer in kept.layers} == {"float32"}
    fresh_one.set_weights(kept.get_weights())
    images = load_images(split.test, plan, masked=True)
    expected = fresh_one.predict(images, verbose=0)
    assert np.abs(kept.predict(images, verbose=0) - expected).max() < 1e-6


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["vgg16_baseline", "vgg16_finetune"])
def test_cached_and_end_to_end_training_give_the_same_head(
    split: Split, tmp_path: Path, architecture: str
) -> None:
    # At rates at which these few steps move the weights far.
    plan = a_plan(architecture, learning_rate=1e-4 if architecture == "vgg16_finetune" else 1e-3)
    tools = Tools(PretrainedWeights(make_vgg16(tmp_path)), FeatureCache(tmp_path / "features"))
    cached = train(plan, split, tmp_path / "cached", tools).model

    end_to_end = build(architecture, tools.pretrained)
    end_to_end.set_weights(start_of(architecture, plan, tools))
    images, labels = drawn_once(split, plan)
    validation = load_images(split.validation, plan, masked=True)
    compile_model(end_to_end, plan, 2)
    run_epochs(
        end_to_end,
        plan,
        fixed(images, labels, plan),
        in_order(validation, label_indices(split.validation), 16),
        tmp_path / "end-to-end",
    )
    start = build(architecture, tools.pretrained)
    start.set_weights(start_of(architecture, plan, tools))
    for one, other, first in zip(
        cached.trainable_weights, end_to_end.trainable_weights, start.trainable_weights, strict=True
    ):
        moved = np.linalg.norm(one.numpy() - first.numpy())
        tolerance = BLOCK_TOLERANCE if "block5" in one.path else HEAD_TOLERANCE
        assert np.linalg.norm(one.numpy() - other.numpy()) < tolerance * moved
    seen = load_images(split.test, plan, masked=True)
    before, after, expected = (m.predict(seen, verbose=0) for m in (start, cached, end_to_end))
    assert np.abs(after - expected).max() < HEAD_TOLERANCE * np.abs(after - before).max()


def make_vgg16(folder: Path) -> Path:
    """A pretrained folder with a VGG16 of random weights."""
    keras.utils.set_random_seed(0)
    vgg = keras.applications.VGG16(include_top=False, weights=None)
    vgg.save_weights(folder / "vgg16_notop.weights.h5")
    return folder


def start_of(architecture: str, plan: TrainingPlan, tools: Tools) -> list[np.ndarray]:
    """The weights that training by this plan starts from."""
    keras.utils.set_random_seed(plan.seed)
    return build(architecture, tools.pretrained).get_weights()


_PROGRAM = """
import sys, pickle
from pathlib import Path
from services.trainer.features import FeatureCache
from services.trainer.train import Tools, train
from shared.models.pretrained import PretrainedWeights
plan, split = pickle.loads(Path(sys.argv[1]).read_bytes())
run = Path(sys.argv[2])
trained = train(plan, split, run, Tools(PretrainedWeights(None), FeatureCache(run / "features")))
trained.model.save_weights(run / "model.weights.h5")
"""


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_run_that_was_killed_ends_as_if_it_had_not_been(split: Split, tmp_path: Path) -> None:
    plan = a_plan("cnn_custom", Recipe.ROBUST, max_epochs=4, learning_rate=0.01)
    job = tmp_path / "job"
    job.write_bytes(pickle.dumps((plan, split)))

    def start(run: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, job, run], stderr=subprocess.DEVNULL
        )

    killed, whole = tmp_path / "killed", tmp_path / "whole"
    first = start(killed)
    eventually((killed / "checkpoint" / "state.json").exists, 120)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert not (killed / "model.weights.h5").exists(), "it was killed too late"
    assert start(killed).wait() == 0
    assert start(whole).wait() == 0

    weights = []
    for run in (killed, whole):
        model = build("cnn_custom")
        model.load_weights(run / "model.weights.h5")
        weights.append(model.get_weights())
    for one, other in zip(*weights, strict=True):
        assert np.abs(one - other).max() < 1e-4


def test_an_epoch_depends_on_seed_and_number_alone() -> None:
    images = np.stack([np.asarray(draw_smear(seed)) for seed in range(4)])
    labels = np.arange(4)
    plan = a_plan("cnn_custom", Recipe.ROBUST)
    one, again, next_epoch = (
        fresh(images, labels, plan, masked=True)(number)[0] for number in (3, 3, 4)
    )
    assert np.array_equal(one[0], again[0])
    assert not np.array_equal(one[0], next_epoch[0])


def test_a_teacher_speaks_into_the_targets() -> None:
    images = np.zeros((4, 224, 224, 3), dtype=np.uint8)
    labels = np.arange(4)
    plan = a_plan("student", Recipe.ROBUST, label_smoothing=0.0)
    batches = fresh(
        images, labels, plan, masked=True, teacher=lambda seen: np.full((len(seen), 4), 0.25)
    )(0)
    _, targets = batches[0]
    assert np.allclose(targets.sum(axis=1), 1)
    assert np.allclose(targets.max(axis=1), 0.3 + 0.7 * 0.25)


def test_classes_are_balanced_and_images_shared_out_evenly() -> None:
    chosen = cycle(np.array([3, 5, 9]), 7, np.random.default_rng(0))
    assert sorted(np.bincount(chosen)[[3, 5, 9]]) == [2, 2, 3]
    assert one_hot(np.array([2]), 0.2).tolist() == [
        [pytest.approx(v) for v in (0.05, 0.05, 0.85, 0.05)]
    ]


def test_variants_do_not_depend_on_the_seed_of_a_run(split: Split) -> None:
    first, second = (drawn_once(split, a_plan("cnn_custom", seed=seed)) for seed in (1, 2))
    assert np.array_equal(first[0], second[0])


def test_the_test_part_never_trains(split: Split) -> None:
    test = {sample.sha256 for sample in split.test}
    assert not test & {sample.sha256 for sample in split.without_test}
    assert len(split.without_test) + len(split.test) == 20


def test_segmented_images_train_where_they_are_asked_for(split: Split) -> None:
    plan = a_plan("cnn_custom", representation="segmented")
    black = (load_images(split.train, plan, masked=True) == 0).all(axis=-1)
    assert black.mean() > 0.3


@pytest.mark.parametrize("recipe", list(Recipe))
def test_variants_of_segmented_images_are_black_where_no_cell_is(
    split: Split, recipe: Recipe
) -> None:
    plan = a_plan("cnn_custom", recipe, representation="segmented", images_per_class=8)
    if recipe is Recipe.STUDY:
        variants, _ = drawn_once(split, plan)
    else:
        fields = load_pixels(split.train)
        variants, _ = fresh(fields, label_indices(split.train), plan, masked=True)(0)[0]
    shown = variants.any(axis=-1)
    assert shown.any()
    assert cell_mask(variants)[shown].all()


@pytest.mark.parametrize(
    ("architecture", "recipe"), [("student", Recipe.STUDY), ("vgg16_finetune", Recipe.ROBUST)]
)
def test_a_teacher_who_would_not_be_asked_is_refused(architecture: str, recipe: Recipe) -> None:
    with pytest.raises(BadRequestError, match="no teacher"):
        make_plan(architecture, recipe, teacher="ensemble@1")


def test_a_base_makes_another_run_and_none_the_one_of_before() -> None:
    kept = "bc4c9491"  # of a run whose plan knew nothing of bases
    plan = make_plan("cnn_custom", Recipe.STUDY, seed=2, precision="mixed_bfloat16")
    assert plan.digest == kept
    assert "base" not in plan.as_dict()
    assert replace(plan, base="cnn_custom@1").digest != kept
