"""The champion that is shipped does what its card says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shared.models.registry import ModelRegistry
from shared.settings import InferenceSettings
from tests.command_line import command_line


@pytest.mark.dataset
@pytest.mark.exhaustive
def test_the_shipped_model_does_what_its_card_says(dataset: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    page = tmp_path / "report.html"
    others = [str(dataset.parent.parent / "ood" / name) for name in ("bccd", "jtsc")]
    done = command_line(
        "evaluate",
        dataset,
        "--protocol=grouped",
        f"--json={report}",
        f"--html={page}",
        *(f"--foreign={other}" for other in others),
    )
    assert done.returncode == 0, done.stderr
    card = ModelRegistry(InferenceSettings().models_dir).resolve("champion").card
    found = json.loads(report.read_text())
    assert found["measured_on"]["dataset_version"] == card["data"]["version"]
    assert found["measured_on"]["split"]["hash"] == card["split"]["hash"]
    assert found["metrics"]["confusion_matrix"] == card["metrics"]["confusion_matrix"]
    assert found["metrics"]["accuracy"]["value"] >= 0.985
    assert "colour alone" in page.read_text()

    assert found["metrics"]["calibration"]["after"]["ece"] <= 0.015
    review = found["review"]
    assert review["unreviewed"]["coverage"] >= 0.95
    assert review["unreviewed"]["errors"]["value"] <= 0.002
    assert review["flagged_as_unlike"]["value"] <= 0.03
    assert review["malignant_as_routine"]["count"] == 0
    for other in others:
        assert found["foreign"][other]["reviewed"]["value"] >= 0.95
        assert found["foreign"][other]["routine"]["count"] == 0
