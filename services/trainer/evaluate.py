"""Evaluates a model version on a folder of labelled images."""

from __future__ import annotations

from typing import Any

from services.trainer.dataset import Dataset, label_indices, load_pixels
from services.trainer.metrics import measure
from services.trainer.splits import Protocol, split_dataset
from shared.models.predictor import Predictor


def evaluate(
    predictor: Predictor, dataset: Dataset, *, protocol: Protocol | None = None, seed: int = 0
) -> dict[str, Any]:
    """Measure a model on a data set.

    Args:
        predictor: The model, in the engine that runs it in the service.
        dataset: The labelled images.
        protocol: Measure on the test part of this split; None takes every image.
        seed: Seed of that split.

    Returns:
        Plain data: the model, what it was measured on, and the measures.

    Raises:
        DatasetError: A file is no usable image.
    """
    samples = dataset.samples
    measured_on: dict[str, Any] = {"dataset_version": dataset.version, "counts": dataset.counts()}
    if protocol is not None:
        split = split_dataset(dataset, protocol, seed)
        samples = split.test
        measured_on["split"] = {
            "protocol": protocol,
            "seed": seed,
            "hash": split.hash,
            "part": "test",
        }
    # A shipped model never sees the scale bar, whatever protocol chose the images.
    prediction = predictor.predict(load_pixels(samples))
    metrics = measure(label_indices(samples), prediction.raw, prediction.calibrated)
    return {
        "model": predictor.reference.model_dump(),
        "measured_on": measured_on,
        "accuracy": metrics["accuracy"]["value"],
        "metrics": metrics,
    }
