"""The page of several models on the same images."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np

from services.trainer.compare import compare
from services.trainer.report import html_comparison, html_report
from shared.triage.wording.english import ENGLISH
from tests.unit.report.pages import LABELS, Report, outline, robustness, text


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
