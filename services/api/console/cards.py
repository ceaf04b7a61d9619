"""The figures of a model card, so that those of two versions can stand side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from services.api.console.rendering import percent
from services.api.console.words import say as _
from shared.reviews.agreement import wilson

_UNKNOWN = "–"


@dataclass(frozen=True)
class Figure:
    """One figure: its name and value in the visitor's language.

    Attributes:
        interval: The 95 % interval of a proportion, each end 0 to 1.
        count: What it is a proportion of, such as `514 / 516`.
    """

    name: str
    value: str
    share: float | None = None
    interval: tuple[float, float] | None = None
    count: str = ""


def figures(card: Mapping[str, Any]) -> list[Figure]:
    """All figures that a card may have, always the same ones in the same order."""
    return [*_accuracy(card), *_recalls(card), *_doubts(card), *_robustness(card), *_cost(card)]


def _accuracy(card: Mapping[str, Any]) -> Iterator[Figure]:
    metrics = card["metrics"]
    yield _proportion(_("Accuracy"), metrics.get("accuracy"))
    baseline = card.get("colour_baseline", {}).get("accuracy")
    yield _proportion(_("Accuracy of colour alone (no network)"), baseline)
    yield _proportion(_("Sensitivity for malignant"), metrics.get("sensitivity"))
    yield _proportion(_("Specificity"), metrics.get("specificity"))


def _recalls(card: Mapping[str, Any]) -> Iterator[Figure]:
    for label, told in card["metrics"].get("per_class", {}).items():
        of = round(told["support"])
        count = round(told["recall"] * of) if of else 0
        yield _counted(_("Recall of {label}", label=label), count, of)


def _doubts(card: Mapping[str, Any]) -> Iterator[Figure]:
    review = card.get("review", {})
    unreviewed = review.get("unreviewed", {})
    coverage = unreviewed.get("coverage")
    yield Figure(_("Answered without a flag"), percent(coverage), coverage)
    yield _proportion(_("Errors among those"), unreviewed.get("errors"))
    yield _proportion(_("Malignant called routine"), review.get("malignant_as_routine"))
    temperature = card.get("calibration", {}).get("temperature")
    told = _UNKNOWN if temperature is None else f"{temperature:.2f}"
    yield Figure(_("Calibration: temperature"), told)
    conformal = card.get("conformal", {}).get("coverage")
    yield Figure(_("Coverage aimed at by prediction sets"), percent(conformal, 0))


def _robustness(card: Mapping[str, Any]) -> Iterator[Figure]:
    robustness = card.get("robustness", {})
    changes = robustness.get("perturbations", {}).values()
    changed = [one["accuracy"] for change in changes for one in change.values()]
    measured = [one for one in changed if one["of"]]
    lowest = min(measured, key=lambda one: float(one["value"]), default=None)
    yield _proportion(_("Lowest accuracy on changed images"), lowest)
    yield _proportion(_("Accuracy on grey images"), robustness.get("grey"))


def _cost(card: Mapping[str, Any]) -> Iterator[Figure]:
    cost = card.get("cost", {})
    own = card.get("artefacts", {}).get("onnx", {}).get("bytes")
    size = cost.get("artefact_bytes", own)
    speed = cost.get("speed", {}).get("images_per_second")
    yield Figure(_("Size"), _UNKNOWN if size is None else f"{size / 1e6:.1f} MB")
    yield Figure(_("Parameters"), f"{card['parameters']:,}")
    told = _UNKNOWN if speed is None else _("{number} images a second", number=f"{speed:.0f}")
    yield Figure(_("Speed, where it was measured"), told)


def _proportion(name: str, told: Mapping[str, Any] | None) -> Figure:
    if told is None or not told["of"]:
        return Figure(name, _UNKNOWN)
    low, high = told["wilson95"]
    count = f"{told['count']} / {told['of']}"
    return Figure(name, percent(told["value"]), told["value"], (low, high), count)


def _counted(name: str, count: int, of: int) -> Figure:
    if not of:
        return Figure(name, _UNKNOWN)
    share = count / of
    return Figure(name, percent(share), share, wilson(count, of), f"{count} / {of}")
