"""What is no stained smear never gets a confident answer, whichever model is asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from shared.client import Client


def pictures() -> dict[str, Image.Image]:
    """A blank field, a page of text, noise, and a grey landscape of gradients."""
    page = Image.new("RGB", (800, 600), "white")
    for row in range(20, 580, 22):
        ImageDraw.Draw(page).text((20, row), "leucocytes 4.1, haemoglobin 13.2 g/dl; " * 3, "black")
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    slope = np.linspace(0, 255, 400, dtype=np.uint8)
    return {
        "blank": Image.new("RGB", (224, 224), (236, 244, 245)),
        "page": page,
        "noise": Image.fromarray(noise),
        "slope": Image.fromarray(np.tile(slope[None, :, None], (300, 1, 3))),
    }


@pytest.mark.parametrize("model", ["champion", "ensemble", "cnn_custom@1"])
def test_what_is_no_smear_is_sent_to_review_and_is_nobodys_routine(
    client: Client, tmp_path: Path, model: str
) -> None:
    files = []
    for name, picture in pictures().items():
        files.append(tmp_path / f"{name}.png")
        picture.save(files[-1])
    job = client.wait(client.submit(files, fields={"model": model}).id, timeout=120)
    result = job.result
    assert result.requires_review
    assert result.fields.count == len(files)
    assert result.fields.by_urgency["routine"] == 0
    members = 0 if model.startswith("cnn_custom") else 3
    for field in result.images:
        assert field.requires_review, field
        assert "unlike_training_data" in field.reasons
        assert len(field.reason_texts) == len(field.reasons)
        assert field.unlikeness > 1
        assert len(field.opinions) == members
        assert field.quality["nucleated_cells"] >= 0
    assert "too_few_cells" in result.images[0].reasons
