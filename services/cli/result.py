"""`hemotriage result`: the result of a job, in the form that a receiver wants."""

from __future__ import annotations

from pathlib import Path

import click

from services.cli.operator import service_address
from shared.client import Client
from shared.interop.forms import ResultForm


@click.command("result")
@click.argument("job_id")
@click.option(
    "--format",
    "form",
    type=click.Choice([str(form) for form in ResultForm]),
    default=str(ResultForm.JSON),
    show_default=True,
    help="JSON, a FHIR R4 bundle, an HL7 v2.5.1 message, or a DICOM structured report.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write; needed for DICOM.  [default: standard output]",
)
def command(job_id: str, *, form: str, out: Path | None) -> None:
    """Write the result of JOB_ID.

    Goes to the service of HEMOTRIAGE_URL and HEMOTRIAGE_API_KEY, or to that of `make run`.
    """
    wanted = ResultForm(form)
    if wanted is ResultForm.DICOM and out is None:
        raise click.UsageError("A DICOM file is nothing for a terminal: give --out.")
    written = Client(*service_address()).result(job_id, form=wanted)
    if out is None:
        click.echo(written, nl=False)
    else:
        out.write_bytes(written)
        click.echo(str(out))
