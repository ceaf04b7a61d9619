"""What is on a page, and what pages are made of."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.trainer.metrics import proportion

LABELS = np.array([0, 0, 1, 1, 2, 2, 3, 3])
Report = dict[str, Any]


def probabilities(predicted: list[int]) -> NDArray[np.float64]:
    given = np.full((len(predicted), 4), 0.01)
    given[np.arange(len(predicted)), predicted] = 0.97
    return given


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
