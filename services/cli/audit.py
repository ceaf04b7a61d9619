"""`hemotriage audit`: verify the audit trail, export it, and what belongs to that."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from pathlib import Path

import click

from services.cli.operator import operator_settings
from shared.audit.anchors import newest_checkpoint
from shared.audit.checkpoint import read_checkpoint
from shared.audit.export import export, lines_of, verify_export
from shared.audit.findings import Report
from shared.audit.set_aside import set_aside
from shared.audit.signing import PublicKeys, SigningKey
from shared.audit.verify import (
    FOREVER,
    UNCOVERED_SECONDS,
    UNSEALED_SECONDS,
    Expectations,
    verify,
)
from shared.clock import utc_now
from shared.db.session import Sessions, create_database, create_sessions
from shared.errors import HemotriageError, NotFoundError
from shared.retention.policy import Kind, read_retention_policy
from shared.settings import Settings
from shared.storage.s3 import S3Store


class AuditChainBrokenError(HemotriageError):
    """The audit trail is not whole."""

    code = "audit_chain_broken"


class _Moment(click.ParamType[dt.datetime]):
    """A time with a zone, such as 2026-01-31T12:00:00Z."""

    name = "TIME"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> dt.datetime:
        try:
            moment = dt.datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is no time.", param, ctx)
        if moment.tzinfo is None:
            self.fail(f"{value!r} has no zone, as 2026-01-31T12:00:00Z has.", param, ctx)
        return moment


_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group("audit")
def command() -> None:
    """Verify and export the audit trail, of the settings or of `make run`."""


@command.command("verify")
@click.option(
    "--public-key",
    "public_keys",
    multiple=True,
    help="Of who signed, base64; may be repeated. Else those of HEMOTRIAGE_AUDIT_PUBLIC_KEYS, or "
    "that of HEMOTRIAGE_AUDIT_SIGNING_KEY; for a --file those given here alone.",
)
@click.option(
    "--checkpoint",
    "kept",
    multiple=True,
    type=_file,
    help="A checkpoint that was kept elsewhere, as `audit checkpoint` prints it; may be repeated.",
)
@click.option("--file", "exported", type=_file, help="Verify an exported file, with no database.")
@click.option("--without-objects", is_flag=True, help="Leave the object store alone.")
@click.option(
    "--unsealed-seconds",
    type=click.FloatRange(min=0),
    default=UNSEALED_SECONDS,
    show_default=True,
    help="Age at which an event must have its place in the chain.",
)
@click.option(
    "--uncovered-seconds",
    type=click.FloatRange(min=0),
    default=UNCOVERED_SECONDS,
    show_default=True,
    help="Age at which a signed checkpoint must reach to an event, if a key is known.",
)
@click.option(
    "--kept-days",
    type=click.FloatRange(min=0),
    help="Nothing younger may have been pruned; else what HEMOTRIAGE_RETENTION_POLICY keeps.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify_trail(
    public_keys: tuple[str, ...],
    kept: tuple[Path, ...],
    exported: Path | None,
    *,
    without_objects: bool,
    unsealed_seconds: float,
    uncovered_seconds: float,
    kept_days: float | None,
    as_json: bool,
) -> None:
    """Find any event that was altered, removed, moved or put in.

    Exit code 0 only if the trail is whole. Each finding is a line with the position in the chain
    and the event's id, the lowest position first.
    """
    if exported is not None:
        if kept:
            raise click.UsageError("--checkpoint is for the database, not for a --file.")
        with exported.open(encoding="utf-8", errors="surrogateescape") as file:
            keys = PublicKeys(public_keys) if public_keys else None
            report = verify_export(lines_of(file), keys)
    else:
        settings = operator_settings()
        expected = Expectations(
            keys=_public_keys(settings, public_keys),
            kept=tuple((path.name, read_checkpoint(path.read_bytes())) for path in kept),
            unsealed_seconds=unsealed_seconds,
            uncovered_seconds=uncovered_seconds,
            keep=_kept(settings) if kept_days is None else dt.timedelta(days=kept_days),
        )
        storage = None if without_objects else S3Store(settings, pool_size=1, patient=True)
        report = verify(_sessions(settings), storage, expected)
    _tell(report, as_json=as_json)


@command.command("export")
@click.option("--from", "at_from", type=_Moment(), help="Else from the first event on.")
@click.option("--to", "at_to", type=_Moment(), help="Else to the newest checkpoint.")
@click.option("--output", required=True, type=click.Path(dir_okay=False, path_type=Path))
def export_trail(at_from: dt.datetime | None, at_to: dt.datetime | None, output: Path) -> None:
    """Write what was sealed in a time as JSON lines, from checkpoint to checkpoint.

    `hemotriage audit verify --file` verifies them anywhere. An event that no checkpoint covers yet
    is not in them.
    """
    lines = export(_sessions(operator_settings()), at_from, at_to or utc_now())
    draft = output.with_name(output.name + ".part")
    events = 0
    try:
        with draft.open("w", encoding="utf-8") as file:
            for line in lines:
                file.write(line)
                events += '"event": ' in line
        draft.replace(output)
    finally:
        draft.unlink(missing_ok=True)
    click.echo(f"{output}: {events} events")


@command.command("checkpoint")
def checkpoint() -> None:
    """Print the newest checkpoint, to be kept where nobody of the service can change it."""
    found = newest_checkpoint(_sessions(operator_settings()))
    if found is None:
        raise NotFoundError("No checkpoint was made yet.")
    click.echo(found.data.decode(), nl=False)


@command.command("keygen")
def keygen() -> None:
    """Print a fresh key that signs, and the public one that checks; they are kept nowhere."""
    text, key = SigningKey.generate()
    click.echo(f"HEMOTRIAGE_AUDIT_SIGNING_KEY={text}\npublic key: {key.public}")


@command.command("public-key")
def public_key() -> None:
    """Print the public key of HEMOTRIAGE_AUDIT_SIGNING_KEY."""
    secret = operator_settings().audit_signing_key
    if secret is None:
        raise NotFoundError("HEMOTRIAGE_AUDIT_SIGNING_KEY is not set.")
    click.echo(SigningKey(secret.get_secret_value()).public)


@command.command("set-aside")
def set_checkpoints_aside() -> None:
    """After a backup was restored: set checkpoints of the lost time aside, which stay to be seen.

    Do this only once you know why they are not of this database.
    """
    settings = operator_settings()
    moved = set_aside(_sessions(settings), S3Store(settings, pool_size=1))
    click.echo(f"{moved} objects moved to audit/set-aside/")


def _sessions(settings: Settings) -> Sessions:
    return create_sessions(create_database(settings, pool_size=1, patient=True))


def _kept(settings: Settings) -> dt.timedelta:
    """How long the policy keeps the audit trail."""
    return read_retention_policy(settings.retention_policy).rules[Kind.AUDIT].keep or FOREVER


def _public_keys(settings: Settings, given: tuple[str, ...]) -> PublicKeys | None:
    known = given or tuple(settings.audit_public_keys.split())
    if known:
        return PublicKeys(known)
    secret = settings.audit_signing_key
    if secret is None:
        return None
    return PublicKeys([SigningKey(secret.get_secret_value()).public])


def _tell(report: Report, *, as_json: bool) -> None:
    if as_json:
        document = {**dataclasses.asdict(report), "hash": report.hash.hex()}
        click.echo(json.dumps(document))
    else:
        _print(report)
    if report.found:
        positions = [each.position for each in report.findings if each.position is not None]
        place = f", the first at position {min(positions)}" if positions else ""
        raise AuditChainBrokenError(f"Findings: {report.found}{place}.")


def _print(report: Report) -> None:
    for finding in report.findings:
        place = "-" if finding.position is None else finding.position
        event = "" if finding.event_id is None else f", event {finding.event_id}"
        click.echo(f"position {place}{event}: {finding.problem}: {finding.detail}")
    if report.found > len(report.findings):
        click.echo(f"... and {report.found - len(report.findings)} more")
    for warning in report.warnings:
        click.echo(f"warning: {warning}", err=True)
    signed = f", signed up to {report.covered} at {report.covered_at}" if report.covered else ""
    click.echo(
        f"{report.events} events, positions {report.begins} to {report.position}"
        f" ({report.checkpoints} checkpoints compared{signed}); {report.unsealed} not sealed yet"
    )
    if not report.found:
        click.echo(f"whole: {report.hash.hex()}")
