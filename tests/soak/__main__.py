"""Runs a service under load for long, with all that happens to one: `python -m tests.soak`."""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path

import click

from tests.soak.report import report
from tests.soak.run import soak


@click.command()
@click.option("--minutes", type=click.FloatRange(min=1), default=60, show_default=True)
@click.option("--rate", type=float, help="Jobs a second; by default half of what is found to go.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write figures there.")
@click.option("--markdown", type=click.Path(path_type=Path), help="Write the page there too.")
def main(minutes: float, rate: float | None, json_file: Path | None, markdown: Path | None) -> None:
    """Judge a long run; exit code 1 if anything is not as it must be."""
    logging.getLogger("shared.local").setLevel(logging.ERROR)  # it tells of each restart
    began = time.monotonic()

    def tell(text: str) -> None:
        click.echo(f"{time.monotonic() - began:6.0f} s  {text}", err=True)

    outcome = soak(minutes, rate=rate, tell=tell)
    page = report(outcome)
    click.echo(page)
    for path, content in ((json_file, json.dumps(outcome.as_dict(), indent=1)), (markdown, page)):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
    sys.exit(0 if outcome.is_good else 1)


if __name__ == "__main__":
    main()
