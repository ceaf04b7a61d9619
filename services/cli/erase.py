"""`hemotriage erase`: removes all data of a patient."""

from __future__ import annotations

import datetime as dt
import sys
from typing import TextIO

import click

from services.cli.operator import operator_settings
from services.cli.tenants import tenant_option
from shared.db.roles.table import Role
from shared.db.session import Sessions, create_database, create_sessions
from shared.errors import BadRequestError
from shared.interop.dicom.deidentify import pseudonym
from shared.retention.erase import carry_out
from shared.retention.erasures import Erasure, ErasureStatus, request_erasure
from shared.retention.holds import LegalHoldError
from shared.retention.ledger import read_ledger
from shared.retention.reapply import reapply
from shared.settings import Settings
from shared.storage.s3 import S3Store

_ACTOR = "operator"


class NoPseudonymError(BadRequestError):
    """A patient's number needs HEMOTRIAGE_PSEUDONYM_SECRET, the one that its jobs came under."""

    code = "no_pseudonym"


@click.command("erase")
@click.option("--patient-ref", help="The pseudonym that jobs and orders carry.")
@click.option(
    "--patient-id",
    help="The number of which the pseudonym was made; -: asks for it, or reads it as a line.",
)
@click.option("--issuer", default="", help="Who gave that number, as DICOM or HL7 said it.")
@tenant_option("Whose patient it is.")
@click.option("--reason", default="patient_request", show_default=True, help="A code.")
@click.option("--reapply", "again", is_flag=True, help="Erase again what a restore brought back.")
@click.option("--ledger", is_flag=True, help="Print what was erased, a line of JSON each.")
@click.option("--from", "copy", type=click.File(), help="With --reapply: a copy of the ledger.")
def command(
    *,
    patient_ref: str | None,
    patient_id: str | None,
    issuer: str,
    tenant: str,
    reason: str,
    again: bool,
    ledger: bool,
    copy: TextIO | None,
) -> None:
    """Erase all jobs, orders, images, results and reviews of a tenant's patient, for good.

    Nothing is erased if a legal hold covers any of it. Works on the database of the settings or of
    `make run`.
    """
    if sum((patient_ref is not None, patient_id is not None, again, ledger)) != 1:
        told = "Give one of --patient-ref, --patient-id, --reapply and --ledger."
        raise click.UsageError(told)
    settings = operator_settings(Role.RETENTION)
    sessions = create_sessions(create_database(settings, pool_size=1, patient=True))
    storage = S3Store(settings, pool_size=1, patient=True)
    if ledger:
        for entry in read_ledger(sessions, storage):
            click.echo(entry.model_dump_json())
    elif again:
        _reapply(settings, sessions, storage, copy)
    else:
        named = patient_ref or _pseudonym(settings, _number(patient_id or ""), issuer)
        _erase(settings, sessions, storage, named, tenant=tenant, reason=reason)


def _erase(
    settings: Settings,
    sessions: Sessions,
    storage: S3Store,
    patient_ref: str,
    *,
    tenant: str,
    reason: str,
) -> None:
    asked = request_erasure(
        sessions,
        patient_ref,
        tenant=tenant,
        reason=reason,
        actor=_ACTOR,
        secret=settings.pseudonym_secret,
    )
    done = carry_out(sessions, storage, asked.id, again_after=_grace(settings))
    if done.status is ErasureStatus.REFUSED:
        raise LegalHoldError(f"Held by {', '.join(map(str, done.hold_ids))}.")
    _show(done)


def _reapply(settings: Settings, sessions: Sessions, storage: S3Store, copy: TextIO | None) -> None:
    entries = read_ledger(sessions, storage, copy or ())
    secret = settings.pseudonym_secret
    again = reapply(sessions, storage, entries, secret=secret, again_after=_grace(settings))
    click.echo(f"gone through {again.erasures} erasures; {_counted(again.counts)}")


def _show(erasure: Erasure) -> None:
    click.echo(f"erased {erasure.id}: {_counted(erasure.counts)}")
    for dataset_id in erasure.dataset_ids:
        click.echo(f"withdrawn: data set {dataset_id}")
    for model in erasure.models:
        click.echo(f"trained on a withdrawn data set, and there still: {model}")


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {table}" for table, count in counts.items()) or "nothing was there"


def _number(patient_id: str) -> str:
    """The number, from standard input for `-`: others on the host can see arguments."""
    if patient_id != "-":
        return patient_id
    if sys.stdin.isatty():
        click.echo("The patient's number: ", nl=False, err=True)
    if number := sys.stdin.readline().strip():
        return number
    raise click.UsageError("No number was given.")


def _pseudonym(settings: Settings, patient_id: str, issuer: str) -> str:
    made = pseudonym(settings.pseudonym_secret, patient_id, issuer)
    if made is None:
        raise NoPseudonymError
    return made


def _grace(settings: Settings) -> dt.timedelta:
    return dt.timedelta(seconds=settings.orphan_grace_seconds)
