"""The pages of an evaluation and of a comparison."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from services.trainer.compare import compare
from services.trainer.curves import (
    CELLS,
    SHIFTED,
    STEPS,
    Curves,
    mean_with_interval,
    summarise_curves,
)
from services.trainer.metrics import measure, proportion
from services.trainer.report import SHOWN_ERRORS, html_comparison, html_report, html_study
from shared.explanations.method import Method
from shared.models.prediction import Prediction
from shared.models.registry import ModelRegistry
from shared.settings import InferenceSettings
from shared.triage.wording.english import ENGLISH

LABELS = np.array([0, 0, 1, 1, 2, 2, 3, 3])
Report = dict[str, Any]


def probabilities(predicted: list[int]) -> NDArray[np.float64]:
    given = np.full((len(predicted), 4), 0.01)
    given[np.arange(len(predicted)), predicted] = 0.97
    return given


@pytest.fixture
def make_report() -> Callable[..., Report]:
    """Makes the report on eight images, two a class where nothing else is said."""

    def make(predicted: list[int], labels: NDArray[np.int64] = LABELS, name: str = "m") -> Report:
        calibrated = probabilities(predicted)
        reference = {
            "name": name, "version": 1, "sha256": "ab" * 32, "engine": "openvino",
            "precision": "f32",
        }  # fmt: skip
        wrong = {
            "file": "Early/<b>7</b>.png", "sha256": "cd" * 32, "true": "Early",
            "predicted": "Benign", "confidence": 0.97, "probabilities": {}, "urgency": "routine",
        }  # fmt: skip
        return {
            "model": reference,
            "members": [],
            "measured_on": {"dataset_version": "d" * 64, "counts": {"Benign": 2}},
            "metrics": measure(labels, Prediction(calibrated.astype(np.float32), calibrated)),
            "errors": [wrong] * int((calibrated.argmax(axis=1) != labels).sum()),
            "cost": {
                "parameters": 127_300, "artefact_bytes": 513_651, "engine": "openvino",
                "precision": "f32",
                "speed": {"images_per_second": 251.26, "batch": 8, "runs": 7, "cores": 2},
            },
            "code": {"package": "0.1.0", "commit": "e" * 40 + "-dirty"},
            "card": {
                "limits": ENGLISH.limits,
                "colour_baseline": {"method": "a forest", "accuracy": proportion(504, 516)},
            },
        }  # fmt: skip

    return make


class _Outline(HTMLParser):
    """Collects the headings and whatever an element loads or links to."""

    def __init__(self) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self._in_heading = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_heading = tag == "h2"
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "srcset", "data"):
                self.links.append(value or "")
            if name == "id":
                self.ids.append(value or "")

    def handle_data(self, data: str) -> None:
        if self._in_heading:
            self.headings.append(data)
            self._in_heading = False


def outline(page: str) -> _Outline:
    found = _Outline()
    found.feed(page)
    return found


def text(page: str) -> str:
    """What stands on the page, without its markup and its spaces."""
    bare = re.sub(r"<(style|svg)\b.*?</\1>", "", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", bare).split())


def test_a_page_needs_nothing_outside_itself(make_report: Callable[..., Report]) -> None:
    page = html_report(make_report([0, 1, 0, 1, 2, 2, 3, 3]))
    found = outline(page)
    assert found.links, "plots refer to their own parts"
    embedded = "data:image/png;base64,"  # the shades of the confusion matrix
    assert [link for link in found.links if not link.startswith(("#", embedded))] == []
    assert "<script" not in page
    assert "@import" not in page
    assert {link[1:] for link in found.links if link.startswith("#")} <= set(found.ids)
    assert len(found.ids) == len(set(found.ids))


def test_a_page_tells_what_it_is_not_before_any_figure(make_report: Callable[..., Report]) -> None:
    shown = text(html_report(make_report([0, 1, 0, 1, 2, 2, 3, 3])))
    assert shown.index(ENGLISH.disclaimer[1:]) < shown.index("accuracy")
    assert ENGLISH.limits in shown
    assert "Stain colour alone (a forest, no morphology) reaches 97.7 %" in shown
    assert "no split by patient could be made" in shown
    assert "none: every image of the data set" in shown


def test_a_page_has_a_plot_for_every_measure(make_report: Callable[..., Report]) -> None:
    report = make_report([0, 1, 0, 1, 2, 2, 3, 3])
    report["card"]["training"] = {"history": {"loss": [1.0, 0.5], "val_loss": [1.1, 0.6]}}
    page = html_report(report)
    assert re.findall(r'aria-label="([^"]+)"', page) == [
        "Confusion matrix", "ROC curves", "Reliability diagrams", "Training curves",
    ]  # fmt: skip
    assert "251.3 images/s" in page
    assert "127,300" in page
    assert "-dirty" in page


def test_errors_are_shown_by_id_and_escaped(make_report: Callable[..., Report]) -> None:
    page = html_report(make_report([0, 0, 0, 1, 2, 2, 3, 3]))
    assert "Early/&lt;b&gt;7&lt;/b&gt;.png" in page
    assert "cd" * 32 in page
    assert "1 of 8 images get the wrong class" in text(page)


def test_of_many_errors_the_surest_are_shown(make_report: Callable[..., Report]) -> None:
    report = make_report([0, 0, 0, 1, 2, 2, 3, 3])
    report["errors"] = report["errors"] * (SHOWN_ERRORS + 1)
    page = html_report(report)
    assert page.count("▲</td>") == SHOWN_ERRORS
    assert f"the {SHOWN_ERRORS} of which the model is surest" in page


def test_a_model_without_errors_has_a_page(make_report: Callable[..., Report]) -> None:
    assert "None on these 8 images." in html_report(make_report(list(LABELS)))


@pytest.mark.parametrize("labels", [[0, 0, 1, 1], [0, 0, 0, 0], [3]])
def test_classes_without_images_have_a_page(
    make_report: Callable[..., Report], labels: list[int]
) -> None:
    page = html_report(make_report(labels, np.array(labels)))
    assert "nan" not in text(page).lower().split()
    assert ("ROC curves" in page) == (len(set(labels)) > 1)


def test_what_no_card_tells_is_left_out(make_report: Callable[..., Report]) -> None:
    report = make_report(list(LABELS))
    del report["card"]
    report["cost"] |= {"parameters": None, "artefact_bytes": None}
    page = html_report(report)
    assert "colour alone" not in page.lower()
    assert ENGLISH.limits in page


def test_the_card_of_the_shipped_model_has_a_page() -> None:
    card = ModelRegistry(InferenceSettings().models_dir).get("cnn_custom", 1).card
    page = html_report(card)
    assert "Training curves" in page
    assert card["split"]["hash"] in page
    assert "Errors" in outline(page).headings
    assert "What is sent to review" in outline(page).headings
    of_before = {name: card[name] for name in card if name not in ("errors", "review")}
    headings = outline(html_report(of_before)).headings
    assert "Errors" not in headings, "a card of before lists none, which does not mean none"
    assert "What is sent to review" not in headings


def test_an_ensemble_names_its_members(make_report: Callable[..., Report]) -> None:
    report = make_report(list(LABELS), name="ensemble")
    report["members"] = [report["model"] | {"name": name} for name in ("first", "second")]
    shown = text(html_report(report))
    assert "member first@1" in shown
    assert "member second@1" in shown
    card = ModelRegistry(InferenceSettings().models_dir).get("cnn_custom", 1).card
    page = html_report(card | {"members": [{"model": "first@3", "weight": 1.0}], "artefacts": {}})
    assert "member first@3" in text(page)


def robustness() -> dict[str, Any]:
    def levels(*right: int) -> dict[str, Any]:
        return {
            str(level): {"accuracy": proportion(count, 8), "loss_points": 100 * (8 - count) / 8}
            for level, count in enumerate(right, start=1)
        }

    return {
        "clean": proportion(8, 8),
        "perturbations": {"white_balance": levels(7, 4), "blur": levels(8, 6)},
        "grey": proportion(2, 8),
        "stain_normalised": proportion(5, 8),
    }


def test_robustness_is_shown_by_level(make_report: Callable[..., Report]) -> None:
    report = make_report(list(LABELS)) | {"robustness": robustness()}
    shown = text(html_report(report))
    assert "white balance 87.5 % [12.5] 50.0 % [50.0]" in shown
    assert "blur 100.0 % [0.0] 75.0 % [25.0]" in shown
    assert "in grey, without any colour 25.0 %" in shown


def explanation() -> dict[str, Any]:
    """Of three images, as `faithfulness` says it."""
    values = np.array([0.25, 0.5, 0.75])
    falling = np.linspace(1, 0, STEPS + 1)[np.newaxis] ** np.array([[1], [2], [3]])
    curves = {
        str(Method.GRADCAM): Curves(falling**2, falling[:, ::-1]),
        SHIFTED: Curves(falling, falling[:, ::-1]),
        CELLS: Curves(falling**3, falling[:, ::-1]),
    }
    on_cells = {
        "on_cells": mean_with_interval(values),
        "chance": mean_with_interval(values / 5),
        "images_above_chance": proportion(3, 3),
    }
    corner = {"chance": 0.032, "before_hiding": mean_with_interval(values / 50), "as_served": 0.0}
    shuffled = {
        "spearman": mean_with_interval(values - 0.5),
        "predictions_kept": 0.25,
        "maps": 9,
        "maps_without_ranks": 2,
    }
    return {
        "images": 3,
        "images_per_class": {"Early": 3},
        "curves": summarise_curves(curves, {"Early": np.ones(3, dtype=np.bool_)}),
        "attribution": {**on_cells, "per_class": {"Early": on_cells}, "hidden_corner": corner},
        "randomised": {"shuffles": 3, "head": shuffled, "all": shuffled, SHIFTED: shuffled},
    }


def test_how_faithful_explanations_are_is_shown(make_report: Callable[..., Report]) -> None:
    report = make_report(list(LABELS))
    assert "Explanations" not in outline(html_report(report)).headings
    report["card"]["explanation"] = found = explanation()
    report["card"]["cases"] = {"nearest_has_the_true_label": proportion(7, 8)}
    page = html_report(report)
    shown = text(page)
    assert 'aria-label="Deletion and insertion curves"' in page
    assert "on 3 images of the card's test part (Early 3)" in shown
    assert f"cells {found['curves']['deletion'][CELLS]['area']['mean']:.3f}" in shown
    assert "not told apart" in shown
    assert "0.500 [-0.121, 1.121] 0.100 100.0 % [43.9 – 100.0 %] 3/3" in shown
    assert "0.000 as served" in shown
    assert "nearest case has the true label 87.5 %" in shown
    assert "25.0 % of the predictions stay; 2 of 9 maps are the same everywhere" in shown


def test_a_comparison_has_each_model_the_test_and_the_colours(
    make_report: Callable[..., Report],
) -> None:
    predictions = {"good@1": list(LABELS), "poor@1": [0, 0, 1, 1, 0, 0, 0, 0]}
    reports = {name: make_report(predicted) for name, predicted in predictions.items()}
    for report in reports.values():
        report["robustness"] = robustness()
    given = {name: np.array(predicted) for name, predicted in predictions.items()}
    comparison = compare(LABELS, given)
    page = html_comparison(reports, comparison)
    shown = text(page)
    assert "good@1 ★" in shown
    assert "poor@1 50.0 % [21.5 – 78.5 %] 4/8 0 4 0.1250" in shown
    assert "colour alone 97.7 %" in shown
    assert ENGLISH.disclaimer[1:] in shown
    assert "blur 75.0 % [25.0] 75.0 % [25.0]" in shown
    found = outline(page)
    assert len(set(found.ids)) == len(found.ids) > 0
    for name in predictions:
        headings = {f"{name}: {part}" for part in ("By class", "Ranking", "Calibration")}
        assert headings <= set(found.headings)
    for plot in ("Confusion matrix", "ROC curves", "Reliability diagrams"):
        assert page.count(f'aria-label="{plot}"') == 2, plot
    assert "Benign 0.3333 1.0000 0.5000" in shown, "precision, recall and F1 of poor@1"
    assert 'aria-label="Accuracies with their intervals"' in page
    json.dumps(comparison)


def test_pages_tell_the_speed_and_the_verdict_of_each_precision(
    make_report: Callable[..., Report],
) -> None:
    report = make_report(list(LABELS))
    verdict = {
        "passed": False, "images": 516, "labels_changed": 3, "correct": {"full": 514, "lower": 511},
        "speed": {"f32": {"images_per_second": 60.04}, "int8": {"images_per_second": 180.0}},
    }  # fmt: skip
    report["card"]["precisions"] = {"openvino": {"int8": verdict}}
    told = "openvino, int8 not passed 180.0 60.0 3 of 516 511, 514"
    assert told in text(html_report(report))
    reports = {"a@1": report, "b@1": make_report(list(LABELS))}
    page = html_comparison(reports, compare(LABELS, dict.fromkeys(reports, LABELS)))
    shown = text(page)
    assert told in shown
    assert "a@1: Lower precisions" in shown
    assert "b@1: Lower precisions" not in shown, "its gate was never asked"


@pytest.fixture
def study(make_report: Callable[..., Report]) -> Report:
    """What a study of one model tells, from two seeds: one image of eight wrong, and none."""
    history = {"accuracy": [0.5, 0.9], "loss": [1.0, 0.3], "val_accuracy": [0.4, 0.8]}
    runs = [
        {
            "plan": {"architecture": "cnn_custom", "seed": seed, "precision": "mixed_bfloat16"},
            "metrics": make_report(predicted)["metrics"],
            "history": history,
            "wrong": wrong,
            "seconds": 90.0,
            "cost": {
                "parameters": 127_300,
                "weights_bytes": 530_000,
                "speed": {"images_per_second": 61.0, "batch": 16, "runs": 7, "cores": 2},
            },
        }
        for seed, predicted, wrong in (
            (4, [0, 0, 0, 1, 2, 2, 3, 3], ["Early/<b>7</b>.png"]),
            (5, [0, 0, 1, 1, 2, 2, 3, 3], []),
        )
    ]
    accuracy = {"mean": 7.5 / 8, "lowest": 7 / 8, "highest": 1.0, "wilson95": [0.52, 0.98]}
    return {
        "data": {"version": "d" * 64},
        "split": {
            "protocol": "grouped",
            "seed": 2022,
            "hash": "ab" * 32,
            "counts": {"train": 24, "validation": 8, "test": 8},
        },
        "colour_baseline": {"method": "a forest", "accuracy": proportion(6, 8)},
        "models": {"cnn_custom": {"runs": runs, "accuracy": accuracy}},
        "wall_seconds": 200.0,
        "peak_memory_mib": 900.0,
        "code": {"package": "0.1.0"},
    }


def test_a_study_shows_every_run_and_is_whole_in_itself(study: Report) -> None:
    page = html_study(study)
    found = outline(page)
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in found.links)
    assert len(set(found.ids)) == len(found.ids) > 0
    assert {"cnn_custom, seed 4", "cnn_custom, seed 5"} <= set(found.headings)
    for plot in ("Confusion matrix", "ROC curves", "Reliability diagrams", "Training curves"):
        assert page.count(f'aria-label="{plot}"') == 2, plot
    shown = text(page)
    assert "a forest, no morphology) reaches 75.0 %" in shown
    assert "Called another class, 1 of 8: Early/&lt;b&gt;7&lt;/b&gt;.png ." in shown
    assert "No image of 8 was called another class." in shown
    assert "127,300 parameters, weights of 0.53 MB; TensorFlow in float32 computes 61.0" in shown
    assert ENGLISH.limits in shown


def test_a_study_with_the_scale_bar_in_sight_says_so(study: Report) -> None:
    assert "The scale bar was left in" not in html_study(study)
    study["split"]["protocol"] = "published"
    assert "The scale bar was left in" in html_study(study)
