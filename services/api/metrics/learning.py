"""Training runs, data sets and gates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

from shared.datasets.queries import dataset_standings
from shared.db.session import Sessions
from shared.db.standing import Standing
from shared.registry.gates import gate_standings
from shared.trainings.figures import Running, running_trainings, training_standings

_OPEN = ("queued", "running")
_OF_RUN = ("run", "architecture")


def families(sessions: Sessions) -> Iterator[Metric]:
    """Gauges by status, and the figures of each run that a trainer has."""
    yield from _standing("training_runs", "Training runs", training_standings(sessions))
    yield from _standing("datasets", "Data sets", dataset_standings(sessions))
    yield from _standing("gates", "Gates of model versions", gate_standings(sessions))
    yield from _of_runs(running_trainings(sessions))


def _standing(name: str, what: str, found: Iterable[Standing]) -> Iterator[Metric]:
    counts = GaugeMetricFamily(f"hemotriage_{name}", f"{what} by status.", labels=["status"])
    oldest = GaugeMetricFamily(
        f"hemotriage_{name}_oldest_seconds",
        f"{what} that are open: seconds since the oldest was asked for; 0 where there is none.",
        labels=["status"],
    )
    for standing in found:
        counts.add_metric([standing.status], standing.count)
        if standing.status in _OPEN:
            oldest.add_metric([standing.status], standing.oldest_seconds)
    yield from (counts, oldest)


def _of_runs(runs: Iterable[Running]) -> Iterator[Metric]:
    progress = GaugeMetricFamily(
        "hemotriage_training_progress_ratio", "How far a run is, 0 to 1.", labels=_OF_RUN
    )
    silent = GaugeMetricFamily(
        "hemotriage_training_silent_seconds",
        "Seconds since a run last told of an epoch, a line or a change.",
        labels=_OF_RUN,
    )
    epoch = GaugeMetricFamily(
        "hemotriage_training_epoch", "The newest epoch that has ended, from 1.", labels=_OF_RUN
    )
    accuracy = GaugeMetricFamily(
        "hemotriage_training_val_accuracy_ratio",
        "Accuracy of that epoch on the validation part, 0 to 1.",
        labels=_OF_RUN,
    )
    for run in runs:
        labels = [run.run, run.architecture]
        progress.add_metric(labels, run.progress)
        silent.add_metric(labels, run.silent_seconds)
        if run.epoch is not None:
            epoch.add_metric(labels, run.epoch)
        if run.val_accuracy is not None:
            accuracy.add_metric(labels, run.val_accuracy)
    yield from (progress, silent, epoch, accuracy)
