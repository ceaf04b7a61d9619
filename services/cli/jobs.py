"""`hemotriage jobs`: what an operator does about jobs."""

from __future__ import annotations

import importlib
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import click
from sqlalchemy.exc import OperationalError

from services.cli.operator import operator_settings
from shared.auth.tenants import EVERY_TENANT
from shared.db.session import create_database, create_sessions
from shared.errors import ConflictError, HemotriageError
from shared.jobs.entities import Job
from shared.jobs.queries import JobFilter, get_job, list_jobs
from shared.jobs.replayed import record_replay
from shared.jobs.requeue import dead_letters, requeue
from shared.jobs.states import Status
from shared.triage.compare import Difference

if TYPE_CHECKING:
    from services.cli.replaying import Replay

CANNOT_EXIT_CODE = 2

_REPLAYING = "services.cli.replaying"  # the worker's code, which only its image has


@click.group("jobs")
def command() -> None:
    """List jobs, requeue dead letters, run a past job again.

    They work on the database of the settings or of `make run`.
    """


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
    criteria = JobFilter(status=Status(status))
    for job in list_jobs(sessions, criteria, tenant=EVERY_TENANT, limit=limit).jobs:
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
        requeue(sessions, job_id, tenant=EVERY_TENANT, expire_after_seconds=seconds)
        click.echo(f"requeued {job_id}")
    while dead and (found := dead_letters(sessions, code=code)):
        for job_id in found:
            with suppress(ConflictError):  # another operator was quicker
                requeue(sessions, job_id, tenant=EVERY_TENANT, expire_after_seconds=seconds)
                click.echo(f"requeued {job_id}")


@command.command("replay")
@click.argument("job_id", metavar="ID", type=click.UUID)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def replay_job(job_id: uuid.UUID, *, as_json: bool) -> None:
    """Run a past job again as its result says it was run, and compare field by field.

    The images come from the object store and must be those that were posted; model version, engine,
    precision and policy are those of the result, which stays as it is. Exit code 0: the result is
    identical, but for rounding at most; 1: it differs; 2: the job cannot be replayed.
    """
    with _or_cannot(job_id, as_json=as_json):
        replaying = importlib.import_module(_REPLAYING)
        settings = operator_settings()
        sessions = create_sessions(create_database(settings, pool_size=2))
        job = get_job(sessions, job_id, tenant=EVERY_TENANT)
        try:
            found = replaying.replay(settings, sessions, job)
        except HemotriageError as error:
            record_replay(sessions, job_id, outcome="cannot", code=error.code)
            raise
        record_replay(sessions, job_id, **replaying.record_of(found))
    click.echo(json.dumps(found.as_dict()) if as_json else "\n".join(_told(found)))
    if found.outcome == "differs":
        raise click.exceptions.Exit(1)


@contextmanager
def _or_cannot(job_id: uuid.UUID, *, as_json: bool) -> Iterator[None]:
    """Tell what keeps a job from being replayed, by an exit code that is not that of `differs`."""
    try:
        yield
    except click.ClickException:
        raise
    except Exception as error:  # whatever it is: `differs` would be taken for a finding
        code, detail = _why(error)
        if as_json:
            fault = {"code": code, "detail": detail}
            click.echo(json.dumps({"job_id": str(job_id), "outcome": "cannot", "error": fault}))
        click.echo(f"hemotriage: {code}: {detail}", err=True)
        raise click.exceptions.Exit(CANNOT_EXIT_CODE) from error


def _why(error: Exception) -> tuple[str, str]:
    """Code and detail; the text of a foreign error may tell what nobody is to read."""
    if isinstance(error, HemotriageError):
        return error.code, " ".join(str(error).split())
    if isinstance(error, OperationalError):
        return "database_unavailable", "The database does not answer."
    told = f"{type(error).__name__}: look at the settings, the database's role and the disk."
    return "internal_error", told


def _told(found: Replay) -> list[str]:
    made = f"{found.job.model}, {found.engine} {found.precision}, policy {found.policy_version}"
    lines = [f"{found.job.id} {found.outcome} ({made})"]
    for kind, of_kind in (("", found.differences), ("where it ran: ", found.surroundings)):
        lines += [f"  {kind}{_beside(one)}" for one in of_kind]
    lines += [f"  {assumed}" for assumed in found.assumed]
    if found.in_full is not None:
        decisions = [f"{d.pointer}: {d.now!r}" for d in found.in_full.decisions]
        told = "decides differently: " + "; ".join(decisions) if decisions else "decides the same"
        largest = found.in_full.largest
        most = "no number differs" if largest is None else f"most differs {_beside(largest)}"
        lines.append(f"  float32 {told}; {most}")
    return lines


def _beside(one: Difference) -> str:
    by = "" if one.by is None else f" (by {one.by:.3g}{', rounding' * one.is_rounding})"
    return f"{one.pointer}: {one.recorded!r} recorded, {one.now!r} now{by}"


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
