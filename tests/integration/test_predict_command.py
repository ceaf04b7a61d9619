"""`hemotriage predict`: folders, files, and what cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

from shared.local.synthetic import draw_smear
from shared.models.registry import ModelRegistry
from shared.settings import InferenceSettings
from shared.triage.labels import LABELS
from tests.command_line import command_line


def test_predict_walks_folders_and_tells_what_it_could_not_read(
    drawn: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "empty.png").touch()
    draw_smear(1).save(tmp_path / "good.png")
    out = tmp_path / "out.jsonl"
    done = command_line("predict", drawn, tmp_path, f"--jsonl={out}")
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert done.returncode == 1, "a file could not be read"
    errors = {Path(line["file"]).name: line["error"]["code"] for line in lines if "error" in line}
    good = [line for line in lines if "error" not in line]
    champion = ModelRegistry(InferenceSettings().models_dir).aliases()["champion"]
    assert errors["empty.png"] == "empty_file"
    assert "notes.txt" not in errors
    assert len(good) == 41
    for line in good:
        assert list(line["probabilities"]) == [str(label) for label in LABELS]
        assert line["urgency"] in ("urgent", "priority", "review", "routine")
        assert f"{line['model']['name']}@{line['model']['version']}" == champion


def test_predict_writes_lines_to_standard_output(drawn: Path) -> None:
    for arguments in ((drawn, "--jsonl"), ("--jsonl", drawn), (drawn,)):
        done = command_line("predict", *arguments)
        assert done.returncode == 0, done.stderr
        assert len([json.loads(line) for line in done.stdout.splitlines()]) == 40
