"""Trains one model by its plan, from a split to weights.

What of a network is frozen is computed once an image (`features.py`); only the rest is trained.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from services.trainer.batches import Batches, EpochBatches, Teacher, cycle, fixed, fresh, in_order
from services.trainer.dataset import Sample, label_indices, load_pixels
from services.trainer.features import FeatureCache, Trunk, as_float32, cut
from services.trainer.loop import compile_model, run_epochs
from services.trainer.plan import Recipe, TrainingPlan
from services.trainer.progress import RunProgress, TrainingProgress
from services.trainer.representation import represent
from services.trainer.splits import Split
from shared.imaging import Pixels
from shared.imaging.augment import augment
from shared.models.architectures import architecture, build
from shared.models.pretrained import PretrainedWeights
from shared.triage.labels import LABELS

VALIDATION_BATCH = 16


@dataclass(frozen=True)
class Tools:
    """What training needs besides images: pretrained weights, a place for features, a teacher."""

    pretrained: PretrainedWeights
    features: FeatureCache
    teacher: Teacher | None = None
    base: Callable[[], keras.Model] | None = None
    """Gives a model of the same architecture, whose weights training starts from."""
    progress_of: Callable[[str, int], RunProgress] = TrainingProgress
    """As in `run_epochs`."""


@dataclass(frozen=True)
class TrainedModel:
    """A trained model with what it saw on the way."""

    model: keras.Model
    plan: TrainingPlan
    history: dict[str, list[float]]

    @property
    def validation_loss(self) -> float:
        """Validation loss of the weights that were kept."""
        losses = self.history["val_loss"]
        return losses[-1] if self.plan.patience is None else min(losses)


def train(plan: TrainingPlan, split: Split, run: Path, tools: Tools) -> TrainedModel:
    """Train a model, or go on with a run of the same plan that was interrupted.

    The checkpoint stays: `forget_checkpoint` is for whoever has kept the model.

    Args:
        plan: The plan.
        split: Its training part trains, its validation part is watched; the test part is not read.
        run: Folder of checkpoints.
        tools: Pretrained or base weights, cache of features, the teacher that the plan names.

    Returns:
        The model in float32, whatever precision trained it.
    """
    keras.utils.clear_session()  # or the graphs of earlier runs stay in memory
    base = None if tools.base is None else tools.base().get_weights()
    keras.utils.set_random_seed(plan.seed)
    keras.mixed_precision.set_global_policy(plan.precision)
    try:
        model = build(plan.architecture, tools.pretrained if base is None else None)
        if base is not None:
            model.set_weights(base)
        trunk, trained = cut(model, architecture(plan.architecture).frozen_at)
        batches, validation = _batches(plan, split, trunk, tools)
        compile_model(trained, plan, len(batches(0)))
        history = run_epochs(trained, plan, batches, validation, run, progress_of=tools.progress_of)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    kept = model if plan.precision == "float32" else as_float32(model)
    return TrainedModel(kept, plan, history)


def record(trained: TrainedModel) -> dict[str, Any]:
    """Plan and history as plain data, for a card."""
    return {"plan": trained.plan.as_dict(), "history": trained.history}


def predict(
    model: keras.Model,
    plan: TrainingPlan,
    samples: tuple[Sample, ...],
    tools: Tools,
    *,
    masked: bool,
) -> NDArray[np.float32]:
    """Softmax of a trained model on samples, shape (n, 4), by way of the cached frozen part."""
    images = load_images(samples, plan, masked=masked)
    trunk, trained = cut(model, architecture(plan.architecture).frozen_at)
    inputs = images if trunk is None else tools.features.of(trunk, images, plan.precision)
    batches = in_order(inputs, label_indices(samples), VALIDATION_BATCH)
    probabilities: NDArray[np.float32] = trained.predict(batches, verbose=0)
    return probabilities


def _batches(
    plan: TrainingPlan, split: Split, trunk: Trunk | None, tools: Tools
) -> tuple[EpochBatches, Batches]:
    masked = split.protocol.masked
    labels = label_indices(split.validation)
    watched = load_images(split.validation, plan, masked=masked)
    if trunk is not None:
        images, train_labels = drawn_once(split, plan)
        seen = tools.features.of(trunk, watched, plan.precision)
        rows = tools.features.of(trunk, images, plan.precision)
        return fixed(rows, train_labels, plan), in_order(seen, labels, VALIDATION_BATCH)
    validation = in_order(watched, labels, VALIDATION_BATCH)
    if plan.recipe is Recipe.STUDY:
        return fixed(*drawn_once(split, plan), plan), validation
    samples = training_samples(split, plan)
    images = load_pixels(samples, masked=masked)
    batches = fresh(images, label_indices(samples), plan, masked=masked, teacher=tools.teacher)
    return batches, validation


def training_samples(split: Split, plan: TrainingPlan) -> tuple[Sample, ...]:
    """The images that a plan trains on; never one of the test part."""
    return split.without_test if plan.with_validation else split.train


def load_images(samples: tuple[Sample, ...], plan: TrainingPlan, *, masked: bool) -> Pixels:
    """Images as the plan's model sees them, shape (n, 224, 224, 3)."""
    return represent(load_pixels(samples, masked=masked), plan.representation)


def drawn_once(split: Split, plan: TrainingPlan) -> tuple[Pixels, NDArray[np.int64]]:
    """Every training image once as it is, then variants up to the same number a class.

    A variant is told by its image's content and its number alone, and not by the run's seed: runs
    of several seeds, and splits that share images, share the features of their variants.
    """
    masked = split.protocol.masked
    samples = training_samples(split, plan)
    originals, labels = load_pixels(samples, masked=masked), label_indices(samples)
    rng = np.random.default_rng(split.seed)
    chosen: list[Pixels] = []
    for index in range(len(LABELS)):
        seen: dict[int, int] = {}
        for row in cycle(np.flatnonzero(labels == index), plan.images_per_class, rng):
            number = seen[row] = seen.get(row, -1) + 1
            chosen.append(_variant(originals[row], samples[row], number, plan, masked=masked))
    return np.stack(chosen), np.repeat(np.arange(len(LABELS)), plan.images_per_class)


def _variant(
    image: Pixels, sample: Sample, number: int, plan: TrainingPlan, *, masked: bool
) -> Pixels:
    """Variant `number` of an image; 0 is the image itself."""
    if number > 0:
        rng = np.random.default_rng([int(sample.sha256[:16], 16), number])
        image = augment(image, rng, plan.augmentation, masked=masked)
    return represent(image, plan.representation)
