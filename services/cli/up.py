"""`hemotriage up`: the whole service on this machine, and a first result."""

from __future__ import annotations

import logging
import signal
import threading
from pathlib import Path

import click
from rich.console import Console

from services.cli.operator import LOCAL_ROOT
from services.cli.rendering import result_table, stdout_console
from shared.client import Client
from shared.errors import HemotriageError
from shared.local.service import LocalService
from shared.local.synthetic import SYNTHETIC_SMEAR

_FIRST_RESULT_SECONDS = 120


class DemonstrationError(HemotriageError):
    """The bundled image got no result."""

    code = "demonstration_failed"


@click.command("up")
@click.option(
    "--root",
    type=click.Path(file_okay=False, path_type=Path),
    default=LOCAL_ROOT,
    show_default="var",
    help="Where data, logs and passwords are kept.",
)
@click.option("--once", is_flag=True, help="Stop after the first result.")
def command(root: Path, *, once: bool) -> None:
    """Start the servers and the service, triage the bundled image, and stay up until Ctrl-C."""
    logging.basicConfig(level="WARNING", format="%(levelname)s %(message)s")
    stop = threading.Event()
    # Until the service is up, either signal ends the start; afterwards it ends the supervision.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = stdout_console()
    console.print("Starting PostgreSQL, Valkey, SeaweedFS and the service ...")
    service = LocalService(root)
    try:
        service.start()
        _show_first_result(service, console)
        if once:
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        _show_address(service, console)
        service.supervise(stop)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        console.print("Stopping ...")
        service.stop()


def _show_first_result(service: LocalService, console: Console) -> None:
    with Client(service.url, service.api_key) as client:
        accepted = client.submit([SYNTHETIC_SMEAR], fields={"priority": "stat"})
        job = client.wait(accepted.id, timeout=_FIRST_RESULT_SECONDS)
    if job.result is None:
        raise DemonstrationError(f"Job {job.id} is {job.status}: {job.error}.")
    title = "A SYNTHETIC image, drawn by hemotriage: its result means nothing"
    console.print(result_table(job.result, title=title))


def _show_address(service: LocalService, console: Console) -> None:
    console.print(
        f"\nThe service is up. Look at it: {service.url}/console/sign-in#key={service.api_key}\n"
        f"Address of the API: {service.url} (interactive documentation: {service.url}/docs/)\n"
        f"API key, with every scope: {service.api_key}\n\n"
        "Send an image of your own:\n"
        f"  curl -H 'Authorization: Bearer {service.api_key}' "
        f"-F image=@smear.jpg {service.url}/v1/jobs\n"
        "  .venv/bin/hemotriage submit smear.jpg --wait\n\n"
        "Ctrl-C stops it. Data and logs stay in var/.",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )
