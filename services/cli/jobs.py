"""`hemotriage jobs`: what an operator does about jobs."""

from __future__ import annotations

import uuid

import click
from rich.console import Console
from rich.table import Column, Table

from services.cli.operator import operator_settings
from shared.db.session import create_database, create_sessions
from shared.jobs.queries import JobFilter, list_jobs
from shared.jobs.requeue import dead_letters, requeue
from shared.jobs.states import Status


@click.group("jobs")
def command() -> None:
    """List jobs, and requeue dead letters; works on the database of the settings or `make run`."""


@command.command("list")
@click.option("--status", type=click.Choice(list(Status)), default=Status.DEAD, show_default=True)
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
def list_all(status: str, limit: int) -> None:
    """List jobs of one status, newest first, with the reason of those that failed."""
    sessions = create_sessions(create_database(operator_settings(), pool_size=1))
    titles = ("id", "priority", "model", "submitted", "ended", "attempts", "reason")
    table = Table(*(Column(title, overflow="fold", no_wrap=title == "id") for title in titles))
    for job in list_jobs(sessions, JobFilter(status=Status(status)), limit=limit).jobs:
        moments = (job.submitted_at, job.finished_at)
        shown = (at.isoformat(timespec="seconds") if at else "-" for at in moments)
        reason = f"{job.error.code}: {job.error.detail}" if job.error else "-"
        table.add_row(str(job.id), job.priority, job.model, *shown, str(job.attempts), reason)
    Console().print(table)


@command.command("requeue")
@click.argument("job_ids", metavar="[ID]...", type=click.UUID, nargs=-1)
@click.option("--dead", is_flag=True, help="All dead jobs in the place of IDs.")
@click.option("--code", help="Of the dead jobs, those of this reason.")
def requeue_jobs(job_ids: tuple[uuid.UUID, ...], *, dead: bool, code: str | None) -> None:
    """Queue dead or failed jobs again, with all of their attempts before them."""
    if bool(job_ids) == dead or (code and not dead):
        raise click.UsageError("Give the jobs' ids, or --dead and perhaps its --code.")
    settings = operator_settings()
    sessions = create_sessions(create_database(settings, pool_size=1))
    for job_id in job_ids or dead_letters(sessions, code=code):
        requeue(sessions, job_id, expire_after_seconds=settings.expire_after_seconds)
        click.echo(f"requeued {job_id}")
