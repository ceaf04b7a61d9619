"""Writes model cards."""

from __future__ import annotations

import json
from typing import Any

from shared.models.registry import CARD, ModelVersion


def update_card(version: ModelVersion, **changes: Any) -> None:
    """Change parts of a card; it is replaced as a whole, so that a kill leaves the old one."""
    card = {**version.card, **changes}
    fresh = version.folder / f"{CARD}.new"
    fresh.write_text(json.dumps(card, indent=1) + "\n")
    fresh.replace(version.folder / CARD)
    version.card.update(changes)
