"""`hemotriage submit`: post images to the service."""

from __future__ import annotations

from pathlib import Path

import click

from services.cli.operator import service_address
from services.cli.rendering import json_of, result_table, stdout_console
from shared.client import Client
from shared.client.answers import Failure
from shared.client.jobs import Job
from shared.jobs.states import Priority, Status

_UNSUCCESSFUL = (Status.FAILED, Status.DEAD, Status.CANCELLED)


@click.command("submit")
@click.argument(
    "files",
    nargs=-1,
    required=True,
    metavar="FILE...",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@click.option("--model", default="champion", show_default=True, help="Alias, NAME or NAME@VERSION.")
@click.option(
    "--priority",
    type=click.Choice([str(priority) for priority in Priority]),
    help="Left out: that of the order, or routine.",
)
@click.option("--accession-number", help="Of the order, kept with the job.")
@click.option("--wait", is_flag=True, help="Wait for the result and print it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    files: tuple[Path, ...],
    *,
    model: str,
    priority: str | None,
    accession_number: str | None,
    wait: bool,
    as_json: bool,
) -> None:
    """Post images, the fields of one specimen, as one job.

    Goes to the service of HEMOTRIAGE_URL and HEMOTRIAGE_API_KEY, or to that of `make run`.
    """
    named = {"model": model, "priority": priority, "accession_number": accession_number}
    fields = {name: value for name, value in named.items() if value}
    with Client(*service_address()) as client:
        accepted = client.submit(files, fields=fields)
        job = client.wait(accepted.id) if wait else None
    if as_json:
        click.echo(json_of(job or accepted))
    elif job and job.result:
        stdout_console().print(result_table(job.result, title=f"Job {job.id}"))
    else:
        click.echo(f"{accepted.id} {(job or accepted).status}")
    if job and job.status in _UNSUCCESSFUL:
        _fail(job)


def _fail(job: Job) -> None:
    error = job.error or Failure(code=job.status, detail=None)
    click.echo(f"hemotriage: {error.code}: {error.detail}", err=True)
    raise click.exceptions.Exit(1)
