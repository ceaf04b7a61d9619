"""Progress of a training run, with the time that is left."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import keras
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


def progress_bar() -> Progress:
    """A bar on standard error with the time taken and the time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(elapsed_when_finished=False),
        console=Console(stderr=True),
        speed_estimate_period=600,
    )


class RunProgress(keras.callbacks.Callback):  # type: ignore[misc]
    """Is told how far one run is; open it around the run."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        return

    def begin_epoch(self, number: int, batches: int) -> None:
        """Hear which epoch runs, from 0, and how many batches each has."""
        raise NotImplementedError

    def end_epoch(self, number: int, figures: dict[str, float]) -> None:
        """Hear an epoch's figures."""
        raise NotImplementedError


class TrainingProgress(RunProgress):
    """One bar for a whole run, in batches; a line an epoch stays where no terminal is."""

    def __init__(self, name: str, max_epochs: int) -> None:
        super().__init__()
        self._name, self._max_epochs = name, max_epochs
        self._bar = progress_bar()
        self._task = self._bar.add_task(name, total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def begin_epoch(self, number: int, batches: int) -> None:
        """Say which epoch runs, from 0, and how many batches each has."""
        self._bar.update(
            self._task,
            description=f"{self._name} epoch {number + 1}/{self._max_epochs}",
            total=batches * self._max_epochs,
            completed=number * batches,
        )

    def end_epoch(self, number: int, figures: dict[str, float]) -> None:
        """Leave a line with an epoch's figures."""
        shown = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        line = f"{self._name} {number + 1}/{self._max_epochs}  {shown}"
        self._bar.console.print(line, soft_wrap=True)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Advance by a batch."""
        del batch, logs
        self._bar.advance(self._task)
