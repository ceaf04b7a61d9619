"""Measures the service against bounds of the same run: `make bench`. Nothing passes or fails."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import click

from tests.bench.bare import bare_models
from tests.bench.depth import depth
from tests.bench.explanations import explanations
from tests.bench.priorities import priorities
from tests.bench.report import Report
from tests.bench.rival import rivals
from tests.bench.service import pipeline, scale_out, throughput
from tests.bench.start import start_up, workers

_MODELS = ("cnn_custom", "student", "champion", "vgg16_finetune")
_KERAS = ("cnn_custom", "vgg16_finetune")
"""What a rival is asked to serve: the published networks, as they were published."""


def parts_of(report: Report, folder: Path, *, quick: bool) -> dict[str, Callable[[], None]]:
    """The parts by name; a quick run shows that they work and measures nothing well."""
    rounds, jobs = (1, 64) if quick else (5, 2000)
    models = _MODELS[:1] if quick else _MODELS
    queued = (1, 100) if quick else (1, 100, 10_000, 100_000)
    finished = 1000 if quick else 1_000_000
    return {
        "bare": lambda: bare_models(report, models, rounds=rounds),
        "service": lambda: throughput(report, folder, models, jobs=jobs),
        "rivals": lambda: rivals(report, [m for m in models if m in _KERAS], jobs=jobs),
        "pipeline": lambda: pipeline(report, folder, jobs=jobs),
        "scale-out": lambda: scale_out(report, folder),
        "start-up": lambda: start_up(report, folder),
        "workers": lambda: workers(report, folder, models),
        "depth": lambda: depth(report, folder, queued=queued, finished=finished),
        "explanations": lambda: explanations(report, folder, models, rounds=3 if quick else 15),
        "priorities": lambda: priorities(report, folder, rounds=1 if quick else 3),
    }


_NAMES = list(parts_of(Report(), Path(), quick=True))


@click.command()
@click.option("--only", multiple=True, type=click.Choice(_NAMES), help="Only this; repeatable.")
@click.option("--quick", is_flag=True, help="Small numbers, to see that everything runs.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write figures there.")
def main(only: tuple[str, ...], *, quick: bool, json_file: Path | None) -> None:
    """Measure one part after the other."""
    report = Report()
    folder = Path(tempfile.mkdtemp(prefix="hemotriage-bench-"))
    folder.chmod(0o755)
    try:
        for name, measure in parts_of(report, folder, quick=quick).items():
            if name in (only or _NAMES):
                measure()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report.print()
    if json_file is not None:
        report.write(json_file)


if __name__ == "__main__":
    main()
