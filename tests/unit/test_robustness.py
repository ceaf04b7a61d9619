"""What a model loses when the images change."""

from typing import Any

import numpy as np
import pytest

from services.trainer.robustness import robustness
from shared.imaging import Pixels
from shared.imaging.decode import to_model_input
from shared.imaging.perturb import LEVELS, PERTURBATIONS, PERTURBATIONS_VERSION
from shared.local.synthetic import draw_smear
from shared.triage.labels import LABELS


@pytest.fixture(scope="module")
def images() -> Pixels:
    return np.stack([to_model_input(draw_smear(seed)) for seed in range(4)])


def _by_brightness(images: Pixels) -> Any:
    """Calls a field class 0 as long as it is about as bright as the drawn ones, else class 1."""
    odd = np.abs(images.mean(axis=(1, 2, 3)) - 215) > 12
    return np.eye(len(LABELS))[odd.astype(int)]


def _by_colour(images: Pixels) -> Any:
    """Calls a field class 0 as long as it has any colour."""
    grey = np.ptp(images[:, :180].astype(int), axis=-1).max(axis=(1, 2)) == 0
    return np.eye(len(LABELS))[grey.astype(int)]


def test_a_model_that_sees_brightness_loses_by_brightness_and_not_by_compression(
    images: Pixels,
) -> None:
    labels = np.zeros(len(images), dtype=np.int64)
    report = robustness(_by_brightness, images, labels, seed=1)
    assert report["clean"]["value"] == 1
    strongest = report["perturbations"]["brightness"][str(LEVELS[-1])]
    assert strongest["loss_points"] == 100
    assert strongest["accuracy"]["count"] == 0
    assert [row["loss_points"] for row in report["perturbations"]["jpeg"].values()] == [0, 0, 0]


def test_a_model_that_sees_nothing_but_colour_fails_on_grey(images: Pixels) -> None:
    labels = np.zeros(len(images), dtype=np.int64)
    report = robustness(_by_colour, images, labels)
    assert report["grey"]["value"] == 0
    assert report["stain_normalised"]["value"] == 1


def test_a_report_names_its_set_and_has_every_level_with_an_interval(images: Pixels) -> None:
    labels = np.array([0, 1, 0, 1])
    report = robustness(_by_colour, images, labels, seed=7)
    assert (report["perturbations_version"], report["seed"]) == (PERTURBATIONS_VERSION, 7)
    assert report["images"] == len(images)
    assert list(report["perturbations"]) == list(PERTURBATIONS)
    for name, rows in report["perturbations"].items():
        assert list(rows) == [str(level) for level in LEVELS]
        assert [row["strength"] for row in rows.values()] == list(PERTURBATIONS[name].levels)
        for row in rows.values():
            low, high = row["accuracy"]["wilson95"]
            assert low < row["accuracy"]["value"] < high
