"""`hemotriage retention`: removes what the policy no longer keeps."""

from __future__ import annotations

import datetime as dt
import signal
import threading

import click
from rich.table import Table

from services.cli.operator import operator_settings
from services.cli.rendering import stdout_console
from shared.db.roles.table import Role
from shared.db.session import create_database, create_sessions
from shared.logging import configure_logging
from shared.metrics import serve_metrics
from shared.retention.policy import read_retention_policy
from shared.retention.purge import Purge
from shared.retention.watch import watch
from shared.settings import Settings
from shared.storage.s3 import S3Store

_ACTOR = "operator"
_LOOK_UP_SECONDS = 40.0
"""What is due of a kind is found by reading it whole; shorter than `heartbeat.STALE_SECONDS`."""


@click.group("retention")
def command() -> None:
    """Remove what the policy no longer keeps (HEMOTRIAGE_RETENTION_POLICY)."""


@command.command("run")
@click.option("--dry-run", is_flag=True, help="Only count what is due.")
def run(*, dry_run: bool) -> None:
    """Make one pass over all kinds of data, and print a line for each."""
    settings = operator_settings(Role.RETENTION)
    policy = read_retention_policy(settings.retention_policy)
    sessions = create_sessions(create_database(settings, pool_size=1, patient=True))
    purge = Purge(
        sessions,
        S3Store(settings, pool_size=1),
        again_after=dt.timedelta(seconds=settings.orphan_grace_seconds),
        actor=_ACTOR,
    )
    table = Table("kind", "keep", "due", "would remove" if dry_run else "removed", "held")
    for found in purge(policy, dry_run=dry_run):
        figures = (found.due, found.removed, found.held)
        table.add_row(found.kind, str(found.rule), *map(str, figures))
    stdout_console().print(table)


@command.command("watch")
def follow() -> None:
    """Run until SIGTERM: erase what is asked for at once, and purge at each interval."""
    settings = Settings()
    configure_logging(settings.log_level, service="retention")
    serve_metrics(settings)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    patient = {"answer_timeout_seconds": max(settings.answer_timeout_seconds, _LOOK_UP_SECONDS)}
    database = create_database(settings.model_copy(update=patient), pool_size=2)
    sessions = create_sessions(database)
    watch(settings, sessions, S3Store(settings, pool_size=1), stop)
