"""Trains one model by the study's protocol.

Source: Aria et al. 2022 (doi 10.1002/int.22753): classes balanced to 3,000 augmented images each,
Adam, sparse categorical cross-entropy, batch 64, at most 30 epochs, early stopping and learning
rate reduction on the validation loss, best weights restored.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np

from services.trainer.dataset import label_indices, load_pixels
from services.trainer.splits import Split
from shared.imaging import Pixels
from shared.imaging.augment import augment
from shared.models.architectures import build
from shared.triage.labels import LABELS

TEST_BATCH = 16
LEARNING_RATE_FACTOR = 0.1618


@dataclass(frozen=True)
class TrainingPlan:
    """Hyperparameters of one training run, with the study's values."""

    architecture: str
    seed: int
    images_per_class: int = 3000
    learning_rate: float = 1e-3
    batch_size: int = 64
    max_epochs: int = 30
    patience: int = 3
    lr_patience: int = 1
    precision: Literal["float32", "mixed_bfloat16"] = "float32"


@dataclass(frozen=True)
class TrainedModel:
    """A trained model with what it saw on the way."""

    model: keras.Model
    plan: TrainingPlan
    history: dict[str, list[float]]

    @property
    def best_validation_loss(self) -> float:
        """Validation loss of the restored weights."""
        return min(self.history["val_loss"])

    def record(self) -> dict[str, Any]:
        """Plan and history as plain data, for a card."""
        return {"plan": asdict(self.plan), "history": self.history}


def train(plan: TrainingPlan, split: Split, run_dir: Path) -> TrainedModel:
    """Train a model; checkpoints and an epoch log are written to `run_dir`.

    The returned model holds the best epoch's weights in float32, whatever precision trained them.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(plan.seed)
    keras.mixed_precision.set_global_policy(plan.precision)
    masked = split.protocol.masked
    images, labels = _augmented(split, plan)
    validation = (load_pixels(split.validation, masked=masked), label_indices(split.validation))
    model = build(plan.architecture)
    model.compile(
        optimizer=keras.optimizers.Adam(plan.learning_rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    history = model.fit(
        _Batches(images, labels, plan.batch_size, plan.seed),
        validation_data=_Batches(*validation, TEST_BATCH, None),
        epochs=plan.max_epochs,
        callbacks=_callbacks(plan, run_dir),
        verbose=2,
    ).history
    return TrainedModel(_as_float32(model, plan), plan, _plain(history))


def _callbacks(plan: TrainingPlan, run_dir: Path) -> list[keras.callbacks.Callback]:
    return [
        keras.callbacks.ModelCheckpoint(
            str(run_dir / "best.weights.h5"),
            monitor="val_loss",
            save_best_only=True,
            save_weights_only=True,
        ),
        keras.callbacks.EarlyStopping(
            monitor="val_loss", patience=plan.patience, restore_best_weights=True
        ),
        keras.callbacks.ReduceLROnPlateau(
            monitor="val_loss", factor=LEARNING_RATE_FACTOR, patience=plan.lr_patience
        ),
        keras.callbacks.CSVLogger(str(run_dir / "epochs.csv")),
    ]


def _as_float32(model: keras.Model, plan: TrainingPlan) -> keras.Model:
    """Copy the weights, which are float32 in every precision, into a float32 graph."""
    keras.mixed_precision.set_global_policy("float32")
    copy = build(plan.architecture)
    copy.set_weights(model.get_weights())
    return copy


def _plain(history: dict[str, list[Any]]) -> dict[str, list[float]]:
    return {name: [float(value) for value in values] for name, values in history.items()}


def _augmented(split: Split, plan: TrainingPlan) -> tuple[Pixels, np.ndarray[Any, Any]]:
    """Every training image once as it is, then random variants up to the same number a class."""
    masked = split.protocol.masked
    originals = load_pixels(split.train, masked=masked)
    labels = label_indices(split.train)
    rng = np.random.default_rng(plan.seed)
    chosen: list[Pixels] = []
    for index in range(len(LABELS)):
        of_class = originals[labels == index]
        chosen.extend(of_class[: plan.images_per_class])
        missing = plan.images_per_class - min(len(of_class), plan.images_per_class)
        chosen.extend(
            augment(image, rng, masked=masked) for image in _cycle(of_class, missing, rng)
        )
    return np.stack(chosen), np.repeat(np.arange(len(LABELS)), plan.images_per_class)


def _cycle(images: Pixels, count: int, rng: np.random.Generator) -> Iterator[Pixels]:
    """`count` images, each as often as any other (within one), in random order."""
    order: list[int] = []
    while len(order) < count:
        order.extend(rng.permutation(len(images)))
    return (images[index] for index in order[:count])


class _Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches out of one array, so that Keras makes no second copy of it."""

    def __init__(
        self, images: Pixels, labels: np.ndarray[Any, Any], size: int, seed: int | None
    ) -> None:
        super().__init__()
        self._images, self._labels, self._size = images, labels, size
        self._rng = None if seed is None else np.random.default_rng(seed)
        self._order = np.arange(len(labels))
        self.on_epoch_end()

    def __len__(self) -> int:
        return math.ceil(len(self._order) / self._size)

    def __getitem__(self, index: int) -> tuple[Pixels, np.ndarray[Any, Any]]:
        chosen = self._order[index * self._size : (index + 1) * self._size]
        return self._images[chosen], self._labels[chosen]

    def on_epoch_end(self) -> None:
        if self._rng is not None:
            self._rng.shuffle(self._order)
