"""Cases like this one: which training images a version takes for similar."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from services.trainer.cases import fit_cases
from services.trainer.dataset import Sample
from services.trainer.likeness import fit_gaussians, unseen_threshold, with_threshold
from services.trainer.stored_arrays import store_arrays
from shared.errors import ModelArtefactError
from shared.models.cases import CASES, Cases
from shared.models.precision import FULL
from shared.models.prediction import NoNumberError, Prediction
from shared.models.predictor import Predictor
from shared.models.registry import ModelRegistry, ModelVersion
from shared.settings import PROJECT_ROOT, InferenceSettings
from shared.triage.labels import LABELS
from shared.triage.result import field_result
from tests.networks import drawn

WIDTH = 80
OF_CNN = 128


def samples(count: int, *, group_of: int = 1) -> tuple[Sample, ...]:
    """Images with ids in falling order, so that sorting them matters."""
    return tuple(
        Sample(Path("x"), LABELS[i % 4], f"{count - i:064x}"[::-1], str(i // group_of))
        for i in range(count)
    )


def rows(count: int, width: int = WIDTH, seed: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(2, 1, (count, width)).astype(np.float32)


def fitted(count: int = 100) -> tuple[Cases, NDArray[np.float32], tuple[Sample, ...]]:
    features, of = rows(count), samples(count)
    return Cases(**fit_cases(of, features)), features, of


def test_a_training_image_is_most_similar_to_itself() -> None:
    cases, features, of = fitted()
    similar = cases.nearest(cases.distances(features))
    assert similar.shape == (100, 5)
    assert list(similar["id"][:, 0]) == [sample.sha256[:16] for sample in of]
    assert [LABELS[label] for label in similar["label"][:, 0]] == [sample.label for sample in of]
    assert similar["distance"][:, 0].max() < 0.05


def test_the_nearest_come_first_and_are_the_nearest() -> None:
    cases, _, _ = fitted()
    distances = cases.distances(rows(7, seed=2))
    similar = cases.nearest(distances)
    assert similar["distance"] == pytest.approx(np.sort(distances, axis=1)[:, :5])


def test_distances_are_euclidean_between_features_of_length_one() -> None:
    features, others = rows(40, width=10), rows(3, width=10, seed=2)
    arrays = fit_cases(samples(40), features)  # ten axes lose nothing of ten dimensions
    unit = arrays["unit"]
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (others, features))
    expected = np.linalg.norm(a[:, np.newaxis] - b, axis=2) / unit
    by_id = np.argsort([sample.sha256[:16] for sample in samples(40)])
    assert Cases(**arrays).distances(others) == pytest.approx(expected[:, by_id], abs=0.02)


def test_a_distance_of_one_is_usual_between_images_that_do_not_overlap() -> None:
    features = np.repeat(rows(50), 2, axis=0)  # each field twice, as overlapping fields are
    features[1::2] += 1e-3
    arrays = fit_cases(samples(100, group_of=2), features)
    places = arrays["places"].astype(float)
    apart = np.linalg.norm(places[:, np.newaxis] - places, axis=2)
    assert arrays["unit"] > 10 * np.sort(apart, axis=1)[:, 1].max()


def test_exact_copies_are_one_case() -> None:
    of = samples(10)
    cases = fit_cases((*of, *of), np.concatenate([rows(10), rows(10)]))
    assert len(cases["ids"]) == len(set(cases["ids"])) == 10


def test_where_there_are_few_cases_all_of_them_are_named() -> None:
    cases = Cases(**fit_cases(samples(3), rows(3)))
    assert cases.nearest(cases.distances(rows(2, seed=3))).shape == (2, 3)


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    for name in ("cnn_custom", "efficientnet_lite0", "ensemble"):
        shutil.copytree(PROJECT_ROOT / "models" / name, tmp_path / name)
    return ModelRegistry(tmp_path)


def give_cases(version: ModelVersion, count: int, width: int) -> Path:
    """Let a shipped version have drawn cases, in the place of those that it may have."""
    version.card["artefacts"][CASES] = store_arrays(
        version, CASES, fit_cases(samples(count), rows(count, width))
    )
    (version.folder / "card.json").write_text(json.dumps(version.card))
    return version.artefact_path(CASES)


def load(registry: ModelRegistry, name: str) -> Predictor:
    settings = InferenceSettings(models_dir=PROJECT_ROOT / "models")
    return Predictor.load_in(FULL, registry.resolve(name), settings)


def test_results_name_the_cases_of_their_version(registry: ModelRegistry) -> None:
    give_cases(registry.resolve("cnn_custom@1"), 30, OF_CNN)
    prediction = load(registry, "cnn_custom@1").predict(drawn(2))
    result = field_result(0, prediction.evidence(1))
    distances = [case.distance for case in result.similar]
    assert len(distances) == 5 and distances == sorted(distances)
    ids = {sample.sha256[:16]: sample.label for sample in samples(30)}
    assert all(ids[case.id] == case.label for case in result.similar)


def test_a_version_without_cases_names_none(registry: ModelRegistry) -> None:
    version = registry.resolve("cnn_custom@1")
    version.card["artefacts"].pop(CASES, None)
    (version.folder / "card.json").write_text(json.dumps(version.card))
    prediction = load(registry, "cnn_custom@1").predict(drawn(1))
    assert prediction.similar is None
    assert field_result(0, prediction.evidence(0)).similar == []


def test_altered_cases_are_refused(registry: ModelRegistry) -> None:
    path = give_cases(registry.resolve("cnn_custom@1"), 30, OF_CNN)
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ModelArtefactError, match="SHA-256"):
        load(registry, "cnn_custom@1")


def test_an_ensemble_takes_the_mean_distance_of_its_members(registry: ModelRegistry) -> None:
    members = [registry.resolve(f"efficientnet_lite0@{number}") for number in (1, 2, 3)]
    for version in members:
        give_cases(version, 20, 1280)
    field = drawn(1)
    together = load(registry, "ensemble").predict(field).similar
    assert together is not None
    each = [load(registry, str(version)).look(field).distances for version in members]
    assert all(distances is not None for distances in each)
    mean = np.mean([distances[0] for distances in each if distances is not None], axis=0)
    assert together["distance"][0] == pytest.approx(np.sort(mean)[:5], rel=1e-4)


def test_an_ensemble_whose_members_have_other_cases_names_none(registry: ModelRegistry) -> None:
    for number, count in ((1, 20), (2, 20), (3, 21)):
        give_cases(registry.resolve(f"efficientnet_lite0@{number}"), count, 1280)
    assert load(registry, "ensemble").predict(drawn(1)).similar is None


@pytest.mark.parametrize("scale", [0.0, 1e-9])
def test_a_network_that_sees_the_same_in_all_images_gives_distances_all_the_same(
    scale: float,
) -> None:
    seen = 1 + scale * rows(40)
    cases = Cases(**fit_cases(samples(40), seen))
    assert np.isfinite(cases.distances(seen)).all()
    fitted = fit_gaussians(seen, np.arange(40) % len(LABELS))
    known = with_threshold(fitted, unseen_threshold(fitted, seen, 0.01))
    assert np.isfinite(known.unlikeness(seen)).all()


@pytest.mark.parametrize("part", ["calibrated", "unlikeness"])
def test_what_is_no_number_is_refused_before_it_is_a_result(part: str) -> None:
    values = {"raw": np.full((1, 4), 0.25), "calibrated": np.full((1, 4), 0.25)}
    Prediction(**values, unlikeness=np.zeros(1)).check_numbers()
    values = {**values, "unlikeness": np.zeros(1), part: np.array([np.nan])}
    with pytest.raises(NoNumberError):
        Prediction(**values).check_numbers()
