"""The training loop: an epoch at a time, with a checkpoint after each, so that it can be resumed.

After a kill the run goes on from its last whole epoch and ends with the weights that it would have
had: order, variants and dropout depend on seed and epoch alone, and the checkpoint holds weights,
optimiser, learning rate and what early stopping remembers.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from services.trainer.batches import Batches, EpochBatches
from services.trainer.plan import Recipe, TrainingPlan
from services.trainer.progress import RunProgress, TrainingProgress

LEARNING_RATE_FACTOR = 0.1618
BEST_WEIGHTS = "best.weights.h5"

_CHECKPOINT = "checkpoint"
_STATE = "state.json"


@dataclass
class _State:
    """What a run remembers between epochs."""

    epoch: int = 0
    best: float = float("inf")
    best_epoch: int = -1
    stale: int = 0
    history: dict[str, list[float]] = field(default_factory=dict)
    seconds: float = 0.0
    """That the epochs have taken; one that a kill cut off is not among them."""


def compile_model(model: keras.Model, plan: TrainingPlan, steps_per_epoch: int) -> None:
    """Give a model the plan's optimiser and loss."""
    if plan.recipe is Recipe.STUDY:
        optimizer = keras.optimizers.Adam(plan.learning_rate)
    else:
        steps = steps_per_epoch * plan.max_epochs
        warm_up = steps // 20
        schedule = keras.optimizers.schedules.CosineDecay(
            0.0, steps - warm_up, warmup_target=plan.learning_rate, warmup_steps=warm_up
        )
        optimizer = keras.optimizers.AdamW(schedule, weight_decay=plan.weight_decay)
    model.compile(optimizer=optimizer, loss="categorical_crossentropy", metrics=["accuracy"])


def run_epochs(
    model: keras.Model,
    plan: TrainingPlan,
    batches: EpochBatches,
    validation: Batches,
    run: Path,
    *,
    progress_of: Callable[[str, int], RunProgress] = TrainingProgress,
) -> dict[str, list[float]]:
    """Train a compiled model to the end of its plan; it then holds the weights that are kept.

    The study keeps the epoch with the least validation loss; the robust recipe the last one, so
    that the validation part chooses nothing but the calibration.

    Args:
        model: Compiled; it may be the trained part of a larger model.
        plan: The plan.
        batches: The batches of each epoch.
        validation: The validation part.
        run: Folder of the run. A checkpoint in it, of the same plan, is gone on from.
        progress_of: Makes what is told of every epoch, of those before a checkpoint too, from the
            name of the run's folder and the most epochs that it takes.

    Returns:
        Loss, accuracy and learning rate of each epoch, for training and validation.
    """
    run.mkdir(parents=True, exist_ok=True)
    state = _restore(model, run) or _State()
    with progress_of(run.name, plan.max_epochs) as progress:
        for number in range(state.epoch):
            progress.end_epoch(number, {name: of[number] for name, of in state.history.items()})
        while state.epoch < plan.max_epochs and not _is_over(state, plan):
            started = time.monotonic()
            of_epoch = batches(state.epoch)
            progress.begin_epoch(state.epoch, len(of_epoch))
            _seed_dropout(model, plan.seed, state.epoch)
            figures = _epoch(model, of_epoch, validation, progress)
            progress.end_epoch(state.epoch, figures)
            _learn_from(state, figures, model, plan, run)
            state.seconds += time.monotonic() - started
            _save(model, state, run)
    if plan.patience is not None:
        model.load_weights(run / BEST_WEIGHTS)
    return state.history


def _epoch(
    model: keras.Model, of_epoch: Batches, validation: Batches, progress: RunProgress
) -> dict[str, float]:
    rate = float(model.optimizer.learning_rate)
    trained = model.fit(of_epoch, epochs=1, shuffle=False, verbose=0, callbacks=[progress])
    validated = model.evaluate(validation, verbose=0, return_dict=True)
    return {
        **{name: float(values[-1]) for name, values in trained.history.items()},
        **{f"val_{name}": float(value) for name, value in validated.items()},
        "learning_rate": rate,
    }


def _learn_from(
    state: _State, figures: dict[str, float], model: keras.Model, plan: TrainingPlan, run: Path
) -> None:
    for name, value in figures.items():
        state.history.setdefault(name, []).append(value)
    if figures["val_loss"] < state.best:
        state.best, state.best_epoch, state.stale = figures["val_loss"], state.epoch, 0
        if plan.patience is not None:
            model.save_weights(run / BEST_WEIGHTS)
    else:
        state.stale += 1
        if plan.patience is not None and state.stale % plan.lr_patience == 0:
            model.optimizer.learning_rate.assign(figures["learning_rate"] * LEARNING_RATE_FACTOR)
    state.epoch += 1


def _is_over(state: _State, plan: TrainingPlan) -> bool:
    return plan.patience is not None and state.stale >= plan.patience


def _seed_dropout(model: keras.Model, seed: int, epoch: int) -> None:
    """Dropout draws from a state of its own, which would otherwise depend on what ran before."""
    dropouts = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    for index, layer in enumerate(dropouts):
        layer.seed_generator.state.assign([seed * 1000 + epoch, index])


def _save(model: keras.Model, state: _State, run: Path) -> None:
    """Write a whole checkpoint beside the old one, then let it take its place."""
    fresh, place, old = (run / name for name in ("checkpoint.new", _CHECKPOINT, "checkpoint.old"))
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    model.save_weights(fresh / "model.weights.h5")
    np.savez(fresh / "optimizer.npz", *(v.numpy() for v in model.optimizer.variables))
    (fresh / _STATE).write_text(json.dumps(asdict(state)))
    shutil.rmtree(old, ignore_errors=True)
    if place.exists():
        place.rename(old)
    fresh.rename(place)
    shutil.rmtree(old, ignore_errors=True)


def seconds_before(run: Path) -> float:
    """What the whole epochs of a run took that was interrupted; 0 of a run that is to begin."""
    place = _checkpoint(run)
    state = {} if place is None else json.loads((place / _STATE).read_text())
    return float(state.get("seconds", 0.0))


def _checkpoint(run: Path) -> Path | None:
    """Where the whole checkpoint of an unfinished run is."""
    place, old = run / _CHECKPOINT, run / "checkpoint.old"
    if not place.exists() and old.exists():
        old.rename(place)  # killed between the two renames
    return place if place.exists() else None


def _restore(model: keras.Model, run: Path) -> _State | None:
    place = _checkpoint(run)
    if place is None:
        return None
    model.load_weights(place / "model.weights.h5")
    model.optimizer.build(model.trainable_variables)
    saved: Any = np.load(place / "optimizer.npz")
    for index, variable in enumerate(model.optimizer.variables):
        variable.assign(saved[f"arr_{index}"])
    return _State(**json.loads((place / _STATE).read_text()))


def forget_checkpoint(run: Path) -> None:
    """Remove what only an unfinished run needs."""
    shutil.rmtree(run / _CHECKPOINT, ignore_errors=True)
    (run / BEST_WEIGHTS).unlink(missing_ok=True)
