"""The page of a study."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from services.trainer.metrics import proportion
from services.trainer.report import html_study
from shared.triage.wording.english import ENGLISH
from tests.unit.report.pages import Report, outline, text


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
