"""How far a training run is: its epochs over all seeds, and the time that is left."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from services.trainer.progress import RunProgress
from services.trainer.reports import Reports
from services.trainer.study import RUN, Study
from shared.errors import PermanentError

_TRAINED = 0.98  # what training has of the progress; measuring has the rest
_PAUSE_SECONDS = 1.0


class TrainingDivergedError(PermanentError):
    """The loss is no longer a number; train with a lower learning rate."""

    code = "training_diverged"


@dataclass(frozen=True)
class Part:
    """One training from one seed; a sibling is the one that left the validation part unseen."""

    folder: Path
    seed: int
    sibling: bool


def parts_of(study: Study) -> list[Part]:
    """What a study of one plan trains, in the order in which it does."""
    (plan,) = study.plans
    found = []
    for seed in study.seeds:
        of_seed = replace(plan, seed=seed)
        found.append(Part(study.run_folder(of_seed), seed, sibling=False))
        if plan.with_validation:
            unseen = replace(of_seed, with_validation=False)
            found.append(Part(study.run_folder(unseen), seed, sibling=True))
    return found


class Tracker:
    """Tells how far the parts of a run are; parts that are finished already are told first."""

    def __init__(self, reports: Reports, parts: Sequence[Part], max_epochs: int) -> None:
        self._reports = reports
        self._names = [part.folder.name for part in parts]
        self._parts = parts
        self._max_epochs = max_epochs
        self._began: tuple[float, float] | None = None
        self._told_at = 0.0

    def retell(self) -> None:
        """Tell the epochs of finished parts: their trainer may have been killed before it did."""
        for part in self._parts:
            if (part.folder / RUN).is_file():
                history = json.loads((part.folder / RUN).read_text())["history"]
                for number, figures in enumerate(_by_epoch(history)):
                    self.epoch(part, number, figures)

    def progress_of(self, name: str, max_epochs: int) -> RunProgress:
        """What a run's training tells, by the name of its folder."""
        del max_epochs  # that of every part
        part = self._parts[self._names.index(name)]
        self._reports.log(f"{_named(part)} begins")
        return _Reported(self, part)

    def epoch(self, part: Part, number: int, figures: dict[str, float]) -> None:
        """Tell the figures of a part's epoch, counted from 0.

        Raises:
            TrainingDivergedError: One is no number.
        """
        if not all(math.isfinite(value) for value in figures.values()):
            raise TrainingDivergedError(f"{_named(part)}, epoch {number + 1}.")
        document: dict[str, Any] = {"seed": part.seed, "sibling": part.sibling}
        document |= {"epoch": number + 1, "of": self._max_epochs, **figures}
        kind = "sibling" if part.sibling else "run"
        self._reports.epoch(f"{part.seed}/{kind}/{number + 1}", document)

    def at(self, part: Part, epochs: float, *, pausing: bool = True) -> None:
        """Tell that a part is so many epochs far; with pauses, at most once a second."""
        now = time.monotonic()
        done = self._names.index(part.folder.name) * self._max_epochs + epochs
        if self._began is None:
            self._began = now, done
        if pausing and now - self._told_at < _PAUSE_SECONDS:
            return
        self._told_at = now
        began_at, began_with = self._began
        total = len(self._parts) * self._max_epochs
        gained = done - began_with
        left = (now - began_at) / gained * (total - done) if gained else None
        self._reports.progress(_TRAINED * done / total, left)

    def trained(self) -> None:
        """Tell that all parts are trained; how long measuring takes is not known."""
        self._reports.progress(_TRAINED, None)


class _Reported(RunProgress):
    """Tells of one part what Keras and the training loop tell it."""

    def __init__(self, tracker: Tracker, part: Part) -> None:
        super().__init__()
        self._tracker, self._part = tracker, part
        self._number, self._batches = -1, 1

    def begin_epoch(self, number: int, batches: int) -> None:
        self._number, self._batches = number, batches
        self._tracker.at(self._part, number)

    def end_epoch(self, number: int, figures: dict[str, float]) -> None:
        self._tracker.epoch(self._part, number, figures)
        if number == self._number:  # and not one from before a checkpoint
            self._tracker.at(self._part, number + 1, pausing=False)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        del logs
        self._tracker.at(self._part, self._number + (batch + 1) / self._batches)


def _named(part: Part) -> str:
    return f"seed {part.seed}" + (" without the validation part" if part.sibling else "")


def _by_epoch(history: dict[str, list[float]]) -> list[dict[str, float]]:
    count = len(history["val_loss"])
    return [{name: values[at] for name, values in history.items()} for at in range(count)]
