"""What refuses a model version, and what does not."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest

from services.trainer.criteria import measured_criteria
from services.trainer.figures import Count, Figures
from services.trainer.metrics import Labels
from shared.registry.policy import ChangeControlPolicy, read_policy
from shared.settings import PROJECT_ROOT
from shared.triage.labels import LABELS

POLICY_FILE = PROJECT_ROOT / "models" / "change-control.toml"
A_CLASS = 100
TRUE: Labels = np.repeat(np.arange(4), A_CLASS)
BENIGN, EARLY, PRE, PRO = range(4)


@pytest.fixture(scope="module")
def policy() -> ChangeControlPolicy:
    return read_policy(POLICY_FILE)


def called(*mistakes: tuple[int, int, slice]) -> Labels:
    """The right labels, but for those of a class that are called another; by class positions."""
    predicted = TRUE.copy()
    for label, other, which in mistakes:
        predicted[label * A_CLASS : (label + 1) * A_CLASS][which] = other
    return predicted


def figures(*mistakes: tuple[int, int, slice], **changes: Any) -> Figures:
    """A version that is right, but for some mistakes."""
    values: dict[str, Any] = {
        "predicted": called(*mistakes),
        "ece": 0.02,
        "routine": Count(1, 300),
        "flagged": Count(20, 400),
        "robust": Count(900, 1000),
        "images_per_second": 100.0,
        "artefact_bytes": 2_000_000,
        **changes,
    }
    return Figures(**values)


def refusing(
    policy: ChangeControlPolicy, candidate: Figures, champion: Figures | None
) -> dict[str, str]:
    """The criteria that refuse, with what they say."""
    found = measured_criteria(TRUE, candidate, champion, policy)
    return {one.name: one.detail for one in found if not one.passed}


def test_a_version_as_good_as_the_champion_passes(policy: ChangeControlPolicy) -> None:
    mistakes = [(EARLY, BENIGN, slice(0, 3)), (PRE, EARLY, slice(0, 9))]
    assert refusing(policy, figures(*mistakes), figures(*mistakes)) == {}


@pytest.mark.parametrize(
    ("candidate", "name", "said"),
    [
        (figures((EARLY, BENIGN, slice(4))), "sensitivity", "loses 1.3 points"),
        (figures((EARLY, PRE, slice(4)), (PRE, PRO, slice(5))), "accuracy", "loses 2.2 points"),
        (figures((PRO, PRE, slice(7))), "accuracy", "more than chance (McNemar, p = 0.0078"),
        (figures(ece=0.08), "calibration", "more than 0.05 above"),
        (figures(ece=math.nan), "calibration", "above the ceiling of 0.15"),
        (figures(routine=Count(2, 300)), "urgency", "at most 0 more than by"),
        (figures(flagged=Count(81, 400)), "review", "a rise by 15.2 points"),
        (figures(robust=Count(849, 1000)), "robustness", "loses 5.1 points"),
        (figures(robust=Count(0, 0)), "robustness", "below the floor of 40.0%"),
        (figures(images_per_second=24.9), "speed", "0.25 times as many"),
        (figures(images_per_second=math.nan), "speed", "at least 0.25 times"),
        (figures(artefact_bytes=35_000_001), "size", "35.0 MB are allowed"),
    ],
)
def test_each_criterion_refuses_for_its_own_reason(
    policy: ChangeControlPolicy, candidate: Figures, name: str, said: str
) -> None:
    found = refusing(policy, candidate, figures())
    assert list(found) == [name]
    assert said in found[name]


def test_a_class_that_is_lost_is_not_hidden_by_one_that_is_won(
    policy: ChangeControlPolicy,
) -> None:
    champion = figures((PRE, EARLY, slice(11)))
    found = refusing(policy, figures((EARLY, PRE, slice(11))), champion)
    assert list(found) == ["recall.Early"]
    assert "loses 11.0 points" in found["recall.Early"]


def test_sensitivity_is_refused_by_chance_though_few_points_are_lost(
    policy: ChangeControlPolicy,
) -> None:
    lenient = policy.sensitivity.model_copy(update={"largest_loss_points": 5.0})
    lenient_policy = policy.model_copy(update={"sensitivity": lenient})
    champion = figures((PRO, PRE, slice(5)))
    found = refusing(lenient_policy, figures((EARLY, BENIGN, slice(5))), champion)
    assert list(found) == ["sensitivity"]
    assert "McNemar, p = 0.031 below 0.05" in found["sensitivity"]


def test_what_is_lost_to_the_last_image_that_is_allowed_passes(policy: ChangeControlPolicy) -> None:
    """Two points of 400 images are 8; that 14 are lost and 6 are won may be chance."""
    champion = figures((PRE, EARLY, slice(6)))
    candidate = figures((EARLY, PRE, slice(7)), (PRO, PRE, slice(7)))
    assert refusing(policy, candidate, champion) == {}
    more = figures((EARLY, PRE, slice(8)), (PRO, PRE, slice(7)))
    assert list(refusing(policy, more, champion)) == ["accuracy"]
    edge = figures(flagged=Count(80, 400), robust=Count(850, 1000), images_per_second=25.0)
    assert refusing(policy, edge, figures()) == {}


def test_a_better_version_passes_whatever_the_champion_cannot_do(
    policy: ChangeControlPolicy,
) -> None:
    poor = figures(
        (EARLY, BENIGN, slice(40)),
        ece=0.3,
        routine=Count(40, 300),
        flagged=Count(400, 400),
        robust=Count(100, 1000),
        images_per_second=1.0,
        artefact_bytes=99_000_000,
    )
    assert refusing(policy, figures(), poor) == {}


def test_a_champion_that_is_no_number_is_no_excuse(policy: ChangeControlPolicy) -> None:
    broken = figures(ece=math.nan, images_per_second=math.nan)
    assert list(refusing(policy, figures(), broken)) == ["calibration", "speed"]


@pytest.mark.parametrize(
    ("candidate", "names"),
    [
        (figures((EARLY, BENIGN, slice(30)), (BENIGN, PRE, slice(40))), []),
        (figures((EARLY, BENIGN, slice(31)), (BENIGN, PRE, slice(40))), ["sensitivity"]),
        (figures((EARLY, PRE, slice(40)), (PRE, PRO, slice(40))), []),
        (
            figures((EARLY, PRE, slice(40)), (PRE, PRO, slice(40)), (PRO, EARLY, slice(1))),
            ["accuracy"],
        ),
        (figures((BENIGN, PRE, slice(41))), ["recall.Benign"]),
        (figures(ece=0.151), ["calibration"]),
        (figures(routine=Count(15, 300)), []),
        (figures(routine=Count(16, 300)), ["urgency"]),
        (figures(robust=Count(399, 1000)), ["robustness"]),
        (figures(flagged=Count(400, 400), images_per_second=0.1), []),
        (figures(artefact_bytes=35_000_001), ["size"]),
    ],
)
def test_without_a_champion_floors_and_ceilings_alone_decide(
    policy: ChangeControlPolicy, candidate: Figures, names: list[str]
) -> None:
    assert list(refusing(policy, candidate, None)) == names


def test_what_learned_shuffled_labels_is_refused_with_reasons(policy: ChangeControlPolicy) -> None:
    guess = figures()
    shuffled = np.random.default_rng(1).permutation(TRUE)
    found = refusing(policy, dataclasses.replace(guess, predicted=shuffled), figures())
    assert {"sensitivity", "accuracy", *(f"recall.{label}" for label in LABELS)} == set(found)
    assert all("below the floor" in detail for detail in found.values())


def test_a_criterion_is_plain_data_and_has_no_number_that_is_none(
    policy: ChangeControlPolicy,
) -> None:
    found = measured_criteria(TRUE, figures(ece=math.nan), figures(robust=Count(0, 0)), policy)
    rows = json.loads(json.dumps([one.as_dict() for one in found], allow_nan=False))
    by_name = {row["name"]: row for row in rows}
    assert by_name["calibration"]["candidate"] is None
    assert by_name["calibration"]["limits"] == {"ceiling": 0.15, "largest_rise": 0.05}
    assert by_name["accuracy"]["champion"]["count"] == 400
    low, high = by_name["accuracy"]["candidate"]["wilson95"]
    assert 0.98 < low < high <= 1
