"""From predictions on a locked test set to the report on a version."""

from __future__ import annotations

import dataclasses
import json
import math
import uuid
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from services.trainer.change_control import Judged, judge
from services.trainer.dataset import Sample
from services.trainer.evaluate import Part
from services.trainer.measuring import choose
from services.trainer.metrics import Labels
from services.trainer.unseen import Exposure
from shared.models.prediction import Prediction
from shared.models.registry import ModelRegistry, ModelVersion
from shared.registry.policy import ChangeControlPolicy, read_policy
from shared.settings import PROJECT_ROOT
from shared.triage.labels import LABELS
from shared.triage.result import ModelReference

POLICY_FILE = PROJECT_ROOT / "models" / "change-control.toml"


@pytest.fixture(scope="module")
def policy() -> ChangeControlPolicy:
    return read_policy(POLICY_FILE)


class Oracle:
    """Says what it is told to; stands where a loaded network would."""

    def __init__(self, calibrated: np.ndarray) -> None:
        self._calibrated = calibrated
        self.members: list[ModelReference] = []
        self.reference = ModelReference(
            name="oracle", version=1, sha256="0" * 64, engine="openvino", precision="f32"
        )

    def predict(self, images: np.ndarray) -> Prediction:
        """Each image is taken for the one of the part that it resembles most."""
        known, seen = (in_blocks(some) for some in (a_part().images, images))
        rows = self._calibrated[(seen @ known.T).argmax(axis=1)]
        return Prediction(raw=rows.astype(np.float32), calibrated=rows)


TEST_SET = SimpleNamespace(id=uuid.uuid4(), version="v" * 64)
SHIPPED = ModelRegistry(PROJECT_ROOT / "models")
SIDE = 56


def in_blocks(images: np.ndarray) -> np.ndarray:
    """The brightness of each block of an image against the others, shape (n, 16)."""
    means = images.reshape(len(images), 4, SIDE, 4, SIDE, 3).mean(axis=(2, 4, 5)).reshape(-1, 16)
    means -= means.mean(axis=1, keepdims=True)
    return means / np.linalg.norm(means, axis=1, keepdims=True)


@cache
def a_part(a_class: int = 2) -> Part:
    """Images of grey blocks, each of its own, which no change hides."""
    count = a_class * len(LABELS)
    blocks = np.random.default_rng(0).integers(60, 200, (count, 4, 4, 1), dtype=np.uint8)
    images = blocks.repeat(SIDE, axis=1).repeat(SIDE, axis=2).repeat(3, axis=3)
    labels = np.arange(count) % len(LABELS)
    samples = tuple(
        Sample(Path(f"{index}.png"), LABELS[label], f"{index:064x}", str(index))
        for index, label in enumerate(labels)
    )
    counts = {str(label): a_class for label in LABELS}
    return Part(samples, images, labels, {"dataset_version": "v" * 64, "counts": counts})


def sure_of(labels: Labels, confidence: float = 0.97) -> np.ndarray:
    """Probabilities of someone who is as sure of each label."""
    return np.where(np.eye(4)[labels] == 1, confidence, (1 - confidence) / 3)


def judged(
    calibrated: np.ndarray,
    *,
    version: ModelVersion | None = None,
    exposure: Exposure | None = None,
) -> Judged:
    found = version or SHIPPED.resolve("student@2")
    return Judged(found, Oracle(calibrated), exposure or Exposure())  # type: ignore[arg-type]


@pytest.fixture
def small(policy: ChangeControlPolicy) -> ChangeControlPolicy:
    """The policy for a test set of eight images, of which four are changed."""
    least = {"least_images": 8, "least_per_class": 2, "least_groups": 8}
    test_set = policy.test_set.model_copy(update=least)
    robustness = policy.robustness.model_copy(update={"images": 4})
    return policy.model_copy(update={"test_set": test_set, "robustness": robustness})


def report_on(
    candidate: Judged,
    champion: Judged | None,
    policy: ChangeControlPolicy,
    part: Part | None = None,
) -> dict[str, Any]:
    """Judge; the report as PostgreSQL takes it."""
    found = judge(candidate, champion, part or a_part(), policy, test_set=TEST_SET)  # type: ignore[arg-type]
    report: dict[str, Any] = json.loads(json.dumps(found, allow_nan=False))
    return report


def by_name(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {found["name"]: found for found in report["criteria"]}


def test_the_report_says_what_was_judged_by_what_on_what(small: ChangeControlPolicy) -> None:
    part = a_part()
    report = report_on(judged(sure_of(part.labels)), judged(sure_of(part.labels)), small)
    assert (report["passed"], report["reasons"]) == (True, [])
    assert report["policy"] == {"version": small.version, "sha256": small.sha256}
    assert (report["candidate"], report["champion"]) == ("student@2", "student@2")
    counts = {str(label): 2 for label in LABELS}
    assert report["test_set"] == {
        "dataset_id": str(TEST_SET.id),
        "dataset_version": "v" * 64,
        "images": 8,
        "counts": counts,
    }
    own = report["figures"]["candidate"]
    assert (own["accuracy"]["count"], own["accuracy"]["of"]) == (8, 8)
    assert own["accuracy"]["wilson95"][0] == pytest.approx(0.676, abs=0.001)
    assert own["per_class"]["Pro"]["recall"]["count"] == 2
    assert own["robustness"]["mean"] == {**own["robustness"]["mean"], "count": 96, "of": 96}
    assert own["calibration"]["ece"] == pytest.approx(0.03)
    assert own["artefact_bytes"] == 4_296_444
    assert {"measured_at", "code"} <= set(report)


def test_without_a_champion_the_report_has_none(small: ChangeControlPolicy) -> None:
    report = report_on(judged(sure_of(a_part().labels)), None, small)
    assert report["passed"]
    assert (report["champion"], report["figures"]["champion"]) == (None, None)
    assert {found["champion"] for found in report["criteria"]} == {None}


def test_a_version_that_learned_nonsense_is_refused_with_reasons(
    small: ChangeControlPolicy,
) -> None:
    labels = a_part().labels
    report = report_on(judged(sure_of((labels + 1) % 4)), judged(sure_of(labels)), small)
    assert not report["passed"]
    said = " ".join(report["reasons"])
    assert "Accuracy is 0.0% (0 of 8), the champion's is 100.0% (8 of 8): " in said
    assert "Sensitivity is 66.7% (4 of 6)" in said
    failed = {found["name"] for found in report["criteria"] if not found["passed"]}
    assert {"accuracy", "sensitivity", "recall.Early", "calibration", "robustness"} <= failed


@pytest.mark.parametrize("broken", [slice(None), slice(1)])
def test_probabilities_that_are_no_numbers_are_refused(
    small: ChangeControlPolicy, broken: slice
) -> None:
    calibrated = sure_of(a_part().labels)
    calibrated[broken] = math.nan
    report = report_on(judged(calibrated), None, small)
    assert not report["passed"]
    passed = {found["name"] for found in report["criteria"] if found["passed"]}
    # Of review and speed nothing is asked without a champion.
    assert passed == {"test_set", "training", "complete", "unseen", "review", "speed", "size"}
    assert report["figures"]["candidate"]["error"] == "Some of its probabilities are no numbers."


def test_a_test_set_that_is_too_small_refuses(policy: ChangeControlPolicy) -> None:
    report = report_on(judged(sure_of(a_part().labels)), None, policy)
    assert report["reasons"] == [
        "The test set has 8 images in 8 groups, 2 of its smallest class: at least 100 are asked; "
        "of each class at least 20; at least 80 groups."
    ]


def test_only_a_test_set_that_the_policy_names_may_judge(small: ChangeControlPolicy) -> None:
    named = small.test_set.model_copy(update={"versions": ("f" * 64,)})
    strict = small.model_copy(update={"test_set": named})
    report = report_on(judged(sure_of(a_part().labels)), None, strict)
    assert any("the policy names others" in reason for reason in report["reasons"])


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("training", {"split": {"protocol": "random"}}, "is random: accepted: grouped."),
        ("training", {"split": {}}, "is None"),
        ("complete", {"monitoring": None}, "It has no monitoring."),
        ("complete", {"artefacts": "no parity"}, "no verdict on whether its graph answers"),
    ],
)
def test_what_must_travel_with_a_version_is_asked_for(
    small: ChangeControlPolicy, name: str, change: dict[str, Any], said: str
) -> None:
    card = {**SHIPPED.resolve("student@2").card, **change}
    if change.get("artefacts"):
        of_card = SHIPPED.resolve("student@2").card["artefacts"]
        onnx = {key: value for key, value in of_card["onnx"].items() if key != "parity"}
        card["artefacts"] = {**of_card, "onnx": onnx}
    card = {key: value for key, value in card.items() if value is not None}
    version = ModelVersion("student", 2, Path("nowhere"), described=card)
    report = report_on(judged(sure_of(a_part().labels), version=version), None, small)
    assert [found["name"] for found in report["criteria"] if not found["passed"]] == [name]
    assert said in report["reasons"][0]


def test_what_has_seen_the_test_set_is_refused_and_what_is_unknown_is_said(
    small: ChangeControlPolicy,
) -> None:
    calibrated = sure_of(a_part().labels)
    seen = Exposure(seen_by=("student@1",))
    report = report_on(judged(calibrated, exposure=seen), None, small)
    assert report["reasons"] == [
        "student@1 was trained on images that show what the test set shows."
    ]
    unknown = judged(calibrated, exposure=Exposure(unknown=("student@2",)))
    report = report_on(unknown, judged(calibrated, exposure=seen), small)
    assert report["passed"]
    assert by_name(report)["unseen"]["detail"] == (
        "Not known of student@2, whose data are not of this service. "
        "The champion has seen it: its figures are too good."
    )


def test_an_ensemble_has_the_size_of_its_largest_member(small: ChangeControlPolicy) -> None:
    ensemble = judged(sure_of(a_part().labels), version=SHIPPED.resolve("ensemble@1"))
    report = report_on(ensemble, None, small)
    assert report["passed"], report["reasons"]
    assert by_name(report)["size"]["candidate"] == 13_500_270


def test_speeds_are_measured_in_turns(small: ChangeControlPolicy) -> None:
    order: list[str] = []
    calibrated = sure_of(a_part().labels)

    class Counted(Oracle):
        def __init__(self, name: str) -> None:
            super().__init__(calibrated)
            self._name = name

        def predict(self, images: np.ndarray) -> Prediction:
            order.append(self._name)
            return super().predict(images)

    both = [
        dataclasses.replace(judged(calibrated), predictor=Counted(name))  # type: ignore[arg-type]
        for name in ("candidate", "champion")
    ]
    speed = small.speed.model_copy(update={"alternations": 2})
    report_on(both[0], both[1], small.model_copy(update={"speed": speed}))
    turns = [name for at, name in enumerate(order) if at == 0 or order[at - 1] != name]
    assert turns[:4] == ["candidate", "champion"] * 2


def test_what_carry_on_raises_ends_it(small: ChangeControlPolicy) -> None:
    class StoppedError(Exception):
        pass

    def stopped() -> None:
        raise StoppedError

    one = judged(sure_of(a_part().labels))
    with pytest.raises(StoppedError):
        judge(one, None, a_part(), small, test_set=TEST_SET, carry_on=stopped)  # type: ignore[arg-type]


def test_the_images_that_are_changed_are_always_the_same_and_of_each_class() -> None:
    part = a_part(3)
    chosen = choose(part, 8)
    assert sorted(part.labels[chosen]) == [0, 0, 1, 1, 2, 2, 3, 3]
    hashes = {part.samples[index].sha256 for index in chosen}
    turned = np.arange(len(part.samples))[::-1]
    other = dataclasses.replace(
        part,
        samples=tuple(part.samples[index] for index in turned),
        images=part.images[turned],
        labels=part.labels[turned],
    )
    assert {other.samples[index].sha256 for index in choose(other, 8)} == hashes
    assert len(choose(part, 1000)) == len(part.samples)
