"""`hemotriage models judge`, `promote` and the like: the model versions of the service."""

from __future__ import annotations

from typing import Any

import click
from rich.table import Table

from services.cli.operator import second_key, service_address
from services.cli.rendering import json_of, stdout_console
from shared.client import Client
from shared.client.models import Agreement, Aliases, Gate
from shared.errors import UnknownModelError
from shared.models.registry import parse_reference
from shared.registry.states import Alias, GateStatus

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class _Version(click.ParamType[tuple[str, int]]):
    """NAME@VERSION, as a name and a number."""

    name = "NAME@VERSION"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        try:
            name, number = parse_reference(value)
        except UnknownModelError:
            number = None
        if number is None:
            self.fail(f"{value!r} is not NAME@VERSION.", param, ctx)
        return name, number


_of_version = click.argument("version", metavar="NAME@VERSION", type=_Version())


@click.command("registered")
@_as_json
def registered(*, as_json: bool) -> None:
    """List the versions of the service, with their aliases and their newest gates."""
    found = _client().models()
    if as_json:
        click.echo(json_of(found))
        return
    table = Table("model", "aliases", "origin", "accuracy [95 %]", "gate", "training")
    for model in found.models:
        accuracy = model.metrics["accuracy"]
        low, high = accuracy["wilson95"]
        table.add_row(
            f"{model.name}@{model.version}",
            ", ".join(model.aliases),
            model.origin,
            f"{accuracy['value']:.4f} [{low:.4f}, {high:.4f}]",
            model.gate.status if model.gate else "-",
            model.training_id or "-",
        )
    stdout_console().print(table)
    _print_aliases(found)


@click.command("judge")
@_of_version
@click.option("--dataset", type=click.UUID, help="Id of a locked test set; else the newest.")
@click.option("--wait", is_flag=True, help="Wait for the verdict and print it.")
@_as_json
def judge(version: tuple[str, int], *, dataset: object, wait: bool, as_json: bool) -> None:
    """Have the service compare NAME@VERSION with the champion on a locked test set.

    What a version must reach is in the change-control policy. With --wait, the exit code tells
    whether it has passed.
    """
    client = _client()
    dataset_id = None if dataset is None else str(dataset)
    gate = client.request_gate(*version, dataset_id=dataset_id)
    if wait:
        gate = client.wait_for_gate(gate.id)
    if as_json:
        click.echo(json_of(gate))
    else:
        _print_gate(gate)
    if gate.status in (GateStatus.REFUSED, GateStatus.FAILED):
        raise click.exceptions.Exit(1)


@click.command("promote")
@_of_version
@click.option("--reason", help="Why, where it has not passed its gate; needs a second key.")
@_as_json
def promote(version: tuple[str, int], *, reason: str | None, as_json: bool) -> None:
    """Make NAME@VERSION champion. It must have passed its gate.

    A reason and a second admin's key, HEMOTRIAGE_SECOND_KEY, may stand for that.
    """
    _set(Alias.CHAMPION, version, reason, as_json=as_json)


@click.command("challenge")
@_of_version
@click.option(
    "--canary",
    type=click.IntRange(0, 100),
    default=0,
    show_default=True,
    help="Percent of the champion's jobs that it answers; above 0 it needs what promote needs.",
)
@click.option("--reason", help="As for promote.")
@_as_json
def challenge(version: tuple[str, int], *, canary: int, reason: str | None, as_json: bool) -> None:
    """Make NAME@VERSION challenger: it looks at each job that the champion has answered."""
    _set(Alias.CHALLENGER, version, reason, canary_percent=canary, as_json=as_json)


@click.command("retire")
@_as_json
def retire(*, as_json: bool) -> None:
    """Have no challenger any more."""
    _tell(_client().retire_challenger(), as_json=as_json)


@click.command("rollback")
@click.option("--reason", help="For the audit trail.")
@_as_json
def rollback(*, reason: str | None, as_json: bool) -> None:
    """Make the version champion again that was it before."""
    _tell(_client().roll_back(reason=reason), as_json=as_json)


@click.command("shadow")
@_of_version
@_as_json
def shadow(version: tuple[str, int], *, as_json: bool) -> None:
    """Show how NAME@VERSION agrees with the results of the jobs that it has looked at."""
    found = _client().shadow(*version)
    if as_json:
        click.echo(json_of(found))
        return
    stdout_console().print(_agreement_table(found))


COMMANDS_OF_THE_SERVICE = (registered, judge, promote, challenge, shadow, retire, rollback)


def _client() -> Client:
    return Client(*service_address())


def _set(
    alias: Alias,
    version: tuple[str, int],
    reason: str | None,
    *,
    canary_percent: int | None = None,
    as_json: bool,
) -> None:
    changed = _client().set_alias(
        alias, *version, reason=reason, canary_percent=canary_percent, second_key=second_key()
    )
    _tell(changed, as_json=as_json)


def _tell(changed: Aliases, *, as_json: bool) -> None:
    if as_json:
        click.echo(json_of(changed))
    else:
        _print_aliases(changed)


def _print_aliases(standing: Aliases) -> None:
    for alias, target in standing.aliases.items():
        share = standing.canary_percent if alias == Alias.CHALLENGER else 0
        click.echo(f"{alias}: {target}" + (f", {share} % of its jobs" if share else ""))
    if Alias.CHAMPION not in standing.aliases:
        click.echo("There is no champion.")


def _print_gate(gate: Gate) -> None:
    against = gate.champion or "nothing"
    click.echo(f"{gate.id} {gate.status} {gate.model} against {against}")
    if gate.error:
        click.echo(f"{gate.error.code}: {gate.error.detail}")
    if gate.report is None:
        return
    table = Table("criterion", "", "what was found")
    for criterion in gate.report["criteria"]:
        verdict = "passed" if criterion["passed"] else "refused"
        table.add_row(criterion["name"], verdict, criterion["detail"])
    stdout_console().print(table)
    for reason in gate.report["reasons"]:
        click.echo(f"refused: {reason}")


def _agreement_table(found: Agreement) -> Table:
    compared = found.compared
    table = Table(f"{found.model} as challenger", f"of {compared} jobs")
    counted = {
        "same prediction": found.same_prediction,
        "same urgency": found.same_urgency,
        "both the same": found.agreeing,
        "less urgent than the result": found.lowered,
        "more urgent than the result": found.raised,
        "benign where the result is malignant": found.to_benign,
        "malignant where the result is benign": found.to_malignant,
    }
    for title, count in counted.items():
        share = f" ({count / compared:.1%})" if compared else ""
        table.add_row(title, f"{count}{share}")
    reviewed = found.reviewed
    of_reviewed = f"of {reviewed.jobs} reviewed"
    table.add_row("result right", f"{reviewed.result_right} {of_reviewed}")
    table.add_row("challenger right", f"{reviewed.challenger_right} {of_reviewed}")
    table.add_row("without a result of its own", f"{found.errors} of {found.jobs} looked at")
    return table
