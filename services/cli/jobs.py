"""`hemotriage jobs`: what an operator does about jobs."""

from __future__ import annotations

import uuid
from contextlib import suppress

import click

from services.cli.operator import operator_settings
from shared.db.session import create_database, create_sessions
from shared.errors import ConflictError
from shared.jobs.entities import Job
from shared.jobs.queries import JobFilter, list_jobs
from shared.jobs.requeue import dead_letters, requeue
from shared.jobs.states import Status


@click.group("jobs")
def command() -> None:
    """List jobs, and requeue dead letters; works on the database of the settings or `make run`."""


@command.command("list")
@click.option(
    "--status",
    type=click.Choice([status.value for status in Status]),
    default=Status.DEAD.value,
    show_default=True,
)
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
def list_all(status: str, limit: int) -> None:
    """List jobs of one status, newest first, a line each, with the reason of those that failed."""
    sessions = create_sessions(create_database(operator_settings(), pool_size=1))
    for job in list_jobs(sessions, JobFilter(status=Status(status)), limit=limit).jobs:
        click.echo(_line(job))


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
    seconds = settings.expire_after_seconds
    for job_id in job_ids:
        requeue(sessions, job_id, expire_after_seconds=seconds)
        click.echo(f"requeued {job_id}")
    while dead and (found := dead_letters(sessions, code=code)):
        for job_id in found:
            with suppress(ConflictError):  # another operator was quicker
                requeue(sessions, job_id, expire_after_seconds=seconds)
                click.echo(f"requeued {job_id}")


def _line(job: Job) -> str:
    times = {"submitted": job.submitted_at, "ended": job.finished_at}
    shown = [f"{name}={at.isoformat(timespec='seconds')}" for name, at in times.items() if at]
    request = [f"request={job.request_id}"] if job.request_id else []
    reason = [f"{job.error.code}: {job.error.detail}"] if job.error else []
    return " ".join(
        [
            str(job.id),
            job.priority,
            job.model,
            f"attempts={job.attempts}",
            *shown,
            *request,
            *reason,
        ]
    )
