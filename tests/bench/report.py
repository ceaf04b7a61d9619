"""Figures, each beside the bound that was measured in the same run, as a table and as JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from shared.clock import utc_now


@dataclass(frozen=True)
class Figure:
    """One measured value; `ratio` is to what `bound` names."""

    part: str
    what: str
    value: float
    unit: str
    ratio: float | None = None
    bound: str = ""


@dataclass
class Report:
    """All figures of a run."""

    figures: list[Figure] = field(default_factory=list)

    def add(
        self,
        part: str,
        what: str,
        value: float,
        unit: str,
        *,
        of: tuple[float, str] | None = None,
    ) -> None:
        """Add a figure.

        Args:
            part: The table that it stands in.
            what: Its name.
            value: The value.
            unit: Its unit.
            of: The bound, and what it is.
        """
        ratio, bound = (None, "") if of is None else (value / of[0], of[1])
        self.figures.append(Figure(part, what, value, unit, ratio, bound))
        shown = "" if ratio is None else f"  ({ratio:.2f} of {bound})"
        Console(width=140).print(f"{part}: {what}: {value:,.1f} {unit}{shown}")

    def print(self) -> None:
        """Print a table for each part."""
        for part in dict.fromkeys(figure.part for figure in self.figures):
            table = Table("what", "value", "unit", "ratio", "of", title=part)
            for figure in self.figures:
                if figure.part == part:
                    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
                    table.add_row(
                        figure.what, f"{figure.value:,.1f}", figure.unit, ratio, figure.bound
                    )
            Console(width=140).print(table)

    def write(self, path: Path) -> None:
        """Write everything as JSON, with the machine."""
        document = {
            "measured_at": utc_now().isoformat(timespec="seconds"),
            "machine": {
                "system": platform.platform(),
                "processor": _processor(),
                "cores": os.cpu_count(),
                "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            },
            "figures": [asdict(figure) for figure in self.figures],
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=1) + "\n")


def median_rate(work: Callable[[], int], *, rounds: int) -> float:
    """Median over the rounds of what is done in a second; `work` says how much it did."""
    rates = []
    for _ in range(rounds):
        began = time.perf_counter()
        done = work()
        rates.append(done / (time.perf_counter() - began))
    return statistics.median(rates)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor()
