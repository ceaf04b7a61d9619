"""Evaluates model versions on a folder of labelled images."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.trainer.code_version import code_version
from services.trainer.dataset import Dataset, Sample, label_indices, load_pixels, load_usable
from services.trainer.metrics import Labels, measure, measure_review
from services.trainer.splits import Protocol, count_seen, require_every_class, split_dataset
from shared.imaging import Pixels
from shared.imaging.quality import Quality, measure_quality
from shared.models.prediction import Prediction
from shared.models.predictor import Predictor
from shared.models.registry import ModelVersion
from shared.triage.labels import LABELS
from shared.triage.result import FieldResult, ModelReference, field_result

SPEED_BATCH = 16
SPEED_RUNS = 7


@dataclass(frozen=True)
class Part:
    """Labelled images to measure on, read once for any number of models."""

    samples: tuple[Sample, ...]
    images: Pixels
    labels: Labels
    measured_on: dict[str, Any]

    @cached_property
    def qualities(self) -> list[Quality]:
        """Of each image."""
        return [measure_quality(image) for image in self.images]


@dataclass(frozen=True)
class Evaluation:
    """The report on one model, and what the service would say of each image."""

    report: dict[str, Any]
    results: list[FieldResult]

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Class indices, shape (n,)."""
        return np.array([LABELS.index(result.prediction) for result in self.results])


def read_part(
    dataset: Dataset,
    *,
    protocol: Protocol | None = None,
    seed: int = 0,
    leave_out: bool = False,
) -> Part:
    """Read the test part of a split, or every image where there is no protocol.

    Args:
        dataset: The labelled images.
        protocol: Of the split, if there is one.
        seed: Of that split.
        leave_out: Leave out files that are no usable images, and name them in `measured_on`.

    Raises:
        DatasetError: A file is no usable image, or, where such are left out, none of a class is
            usable; or there are too few groups to be split.
    """
    samples = dataset.samples
    measured_on: dict[str, Any] = {"dataset_version": dataset.version}
    if protocol is not None:
        split = split_dataset(dataset, protocol, seed)
        require_every_class(split)
        samples = split.test
        measured_on["split"] = {
            "protocol": protocol,
            "seed": seed,
            "hash": split.hash,
            "part": "test",
        }
    # A shipped model never sees the scale bar, whatever protocol chose the images.
    if leave_out:
        usable, images, left_out = load_usable(samples)
    else:
        usable, images, left_out = samples, load_pixels(samples), {}
    measured_on |= {"counts": replace(dataset, samples=usable).counts(), "left_out": left_out}
    return Part(usable, images, label_indices(usable), measured_on)


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
        DatasetError: As in `read_part`.
    """
    return evaluate_part(predictor, read_part(dataset, protocol=protocol, seed=seed)).report


def evaluate_part(
    predictor: Predictor, part: Part, *, cards: Sequence[Mapping[str, Any]] = ()
) -> Evaluation:
    """Measure a model on images that are read already.

    Args:
        predictor: The model, in the engine that runs it in the service.
        part: The images.
        cards: The model's card and, for an ensemble, those of its members: they tell its size.
    """
    references = predictor.references
    prediction = predictor.predict(part.images)
    results = decide_all(predictor, prediction, part.qualities)
    metrics = measure(part.labels, prediction)
    report = {
        "model": references[0].model_dump(),
        "members": [reference.model_dump() for reference in references[1:]],
        "measured_on": part.measured_on,
        "accuracy": metrics["accuracy"]["value"],
        "metrics": metrics,
        "review": measure_review(part.labels, results),
        "errors": list_errors(part, results),
        "cost": {
            **size(cards, references),
            "engine": references[0].engine,
            "precision": references[0].precision,
            "speed": measure_speed(predictor.predict, part.images),
        },
        "code": code_version(),
    }
    return Evaluation(report, results)


def decide_all(
    predictor: Predictor, prediction: Prediction, qualities: Sequence[Quality]
) -> list[FieldResult]:
    """What the service would say of each image."""
    members = predictor.members
    return [
        field_result(index, prediction.evidence(index, quality), members)
        for index, quality in enumerate(qualities)
    ]


def size(
    cards: Sequence[Mapping[str, Any]], references: Sequence[ModelReference]
) -> dict[str, int | None]:
    """Parameters of the first card, and bytes of all artefacts that ran; None where none tells."""
    ran = {reference.sha256 for reference in references}
    sizes = [
        artefact["bytes"]
        for card in cards
        for artefact in card.get("artefacts", {}).values()
        if artefact["sha256"] in ran
    ]
    return {
        "parameters": cards[0]["parameters"] if cards else None,
        "artefact_bytes": sum(sizes) if sizes else None,
    }


def measure_speed(predict: Callable[[Pixels], object], images: Pixels) -> dict[str, Any]:
    """Images a second of one call after another on the same batch: the median of seven calls.

    The figure is one of this machine and its present load.

    Args:
        predict: The model.
        images: Shape (n, 224, 224, 3); the first 16 are taken.
    """
    batch = images[:SPEED_BATCH]
    predict(batch)
    seconds = []
    for _ in range(SPEED_RUNS):
        started = time.perf_counter()
        predict(batch)
        seconds.append(time.perf_counter() - started)
    return {
        "images_per_second": len(batch) / float(np.median(seconds)),
        "batch": len(batch),
        "runs": SPEED_RUNS,
        "cores": os.cpu_count(),
    }


def list_errors(part: Part, results: Sequence[FieldResult]) -> list[dict[str, Any]]:
    """The images that the model gets wrong, by their ids; those it is surest of come first."""
    errors = [
        {
            "file": f"{sample.path.parent.name}/{sample.path.name}",
            "sha256": sample.sha256,
            "true": str(sample.label),
            "predicted": str(result.prediction),
            "confidence": result.confidence,
            "probabilities": {str(label): result.probabilities[label] for label in LABELS},
            "urgency": str(result.urgency),
            "reasons": result.reasons,
        }
        for sample, result in zip(part.samples, results, strict=True)
        if result.prediction is not sample.label
    ]
    return sorted(errors, key=lambda error: (-error["confidence"], error["file"]))


def trained_on(version: ModelVersion, part: Part) -> str:
    """What is known of whether a model has seen these images in its training, in words.

    Args:
        version: The model.
        part: The images.

    Raises:
        ModelArtefactError: The cases of the version, or of a member, are missing or altered.
    """
    card, measured_on = version.card, part.measured_on
    split_hash = measured_on.get("split", {}).get("hash")
    if seen := count_seen(version, part.samples, split_hash=split_hash):
        return (
            f"On {seen} of these {len(part.samples)} images, by their SHA-256. "
            "These figures are then too good."
        )
    if split_hash is not None and split_hash == card["split"]["hash"]:
        return "None of these images: they are the test part of the model's own split."
    if measured_on["dataset_version"] == card["data"]["version"]:
        return (
            "Probably on some of these images: they are of its own data set, and not the test part "
            "of its own split. These figures are then too good."
        )
    return "Not known: its card names another data set, which may share images with this one."
