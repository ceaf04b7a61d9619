"""The page of an evaluation, and of a card."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from services.trainer.curves import (
    CELLS,
    SHIFTED,
    STEPS,
    Curves,
    mean_with_interval,
    summarise_curves,
)
from services.trainer.metrics import proportion
from services.trainer.report import SHOWN_ERRORS, html_report
from shared.explanations.method import Method
from shared.models.registry import ModelRegistry
from shared.settings import InferenceSettings
from shared.triage.wording.english import ENGLISH
from tests.unit.report.pages import LABELS, Report, outline, robustness, text


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
