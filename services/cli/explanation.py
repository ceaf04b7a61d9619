"""`hemotriage explanation`: what a job's result rests on, through the service."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from services.cli.operator import service_address
from shared.client import Client
from shared.explanations.method import Method


@click.command("explanation")
@click.argument("job_id")
@click.option(
    "--image",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Position of the image in the job, from 0.",
)
@click.option(
    "--method",
    type=click.Choice([str(method) for method in Method]),
    default=str(Method.GRADCAM),
    show_default=True,
)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The PNG file."
)
def command(job_id: str, *, image: int, method: str, out: Path) -> None:
    """Write what in an image of JOB_ID its prediction rests on, as a PNG.

    Waits until it is made: about a second by Grad-CAM, up to minutes by LIME. Goes to the service
    of HEMOTRIAGE_URL and HEMOTRIAGE_API_KEY, or to that of `make run`.
    """
    client = Client(*service_address())
    # A bar on standard error, and none where that is no terminal.
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(method, total=1.0)
        png = client.explanation(
            job_id,
            image=image,
            method=Method(method),
            progress=lambda done: bar.update(task, completed=done),
        )
    out.write_bytes(png)
    click.echo(str(out))
