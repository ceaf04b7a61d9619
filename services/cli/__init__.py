"""The command line: `hemotriage`.

It is where the services are put together for a person at a prompt, so it may import any of them.
Each command's module is imported when the command runs: `hemotriage submit` loads no TensorFlow.
"""

from __future__ import annotations

import importlib
import sys

import click
import httpx
import pydantic
from psycopg2.errors import InsufficientPrivilege
from sqlalchemy.exc import OperationalError, ProgrammingError

from shared.errors import HemotriageError
from shared.triage.wording.english import ENGLISH

COMMANDS = {
    "submit": "Post images to the service.",
    "predict": "Classify images in this process, without a service.",
    "result": "Fetch a job's result as JSON, FHIR, HL7 or DICOM.",
    "explanation": "Fetch what a job's result rests on, as a picture.",
    "explain": "Show what a prediction rests on, in this process.",
    "evaluate": "Measure a model on a folder of labelled images.",
    "study": "Train, compare and export models.",
    "train": "Have the service train a model, and follow it.",
    "datasets": "Import, list, show and upload data set versions.",
    "models": "List, show and export model versions; judge and promote them.",
    "jobs": "List jobs, requeue dead letters, run a past job again.",
    "audit": "Verify and export the audit trail.",
    "keys": "Make, list and revoke API keys.",
    "webhooks": "List and resend webhooks, and make a secret for them.",
    "migrate": "Bring the database and the object store to the newest form.",
    "backup": "Back up database and objects; list and verify backups.",
    "restore": "Restore a backup into an empty database and bucket.",
    "relay": "Run the relay and the sweeper.",
    "retention": "Remove what the policy no longer keeps.",
    "erase": "Remove all data of a patient.",
    "holds": "Keep data from being removed.",
    "up": "Run the whole service on this machine.",
}
"""Each is a module of this package with a click command `command`."""


class _Commands(click.Group):
    """Imports a command when it is asked for; the list of commands imports none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"{__name__}.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


_HELP = f"""Triage of blood smear images for acute lymphoblastic leukaemia.

{ENGLISH.disclaimer.capitalize()}.
"""


@click.command(cls=_Commands, help=_HELP)
@click.version_option(package_name="hemotriage")
def cli() -> None:
    """The command line."""


def main() -> None:
    """Run a command. Exit code 0 only on success; an error is one line on standard error."""
    try:
        # Where a command leaves by `click.exceptions.Exit`, its code is what comes back.
        sys.exit(cli(standalone_mode=False) or 0)
    except click.Abort:
        _fail("aborted", "Interrupted.", 130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except HemotriageError as error:
        _fail(error.code, str(error))
    except pydantic.ValidationError as error:
        names = ", ".join(
            f"HEMOTRIAGE_{'_'.join(map(str, e['loc'])).upper()}" for e in error.errors()
        )
        _fail("settings_invalid", f"Missing or wrong in the environment: {names}.")
    except httpx.HTTPError as error:
        _fail("service_unreachable", f"The service does not answer: {error}")
    except OperationalError:
        _fail("database_unavailable", "The database does not answer.")
    except ProgrammingError as error:
        if not isinstance(error.orig, InsufficientPrivilege):
            raise
        _fail("role_not_allowed", "The database refuses that to this role; see docs/security.md.")
    except OSError as error:
        _fail("io_error", str(error))


def _fail(code: str, message: str, exit_code: int = 1) -> None:
    click.echo(f"hemotriage: {code}: {' '.join(message.split())}", err=True)
    sys.exit(exit_code)
