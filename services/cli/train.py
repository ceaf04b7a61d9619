"""`hemotriage train`: training runs of the service."""

from __future__ import annotations

import json
from typing import Any

import click
from rich.table import Table

from services.cli.operator import service_address
from services.cli.overrides import set_option, values_of
from services.cli.rendering import json_of, stdout_console
from shared.client import Client
from shared.client.trainings import Training, TrainingEvent, TrainingSummary
from shared.trainings.request import ARCHITECTURES, TrainingProtocol, TrainingRecipe
from shared.trainings.states import EventKind, TrainingStatus

_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_UNSUCCESSFUL = (TrainingStatus.FAILED, TrainingStatus.CANCELLED)


class _Train(click.Group):
    """`hemotriage train ARCHITECTURE` is `hemotriage train start ARCHITECTURE`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.commands:
            args = ["start", *args]
        return super().resolve_command(ctx, args)


@click.group("train", cls=_Train)
def command() -> None:
    """Have the service train ARCHITECTURE, list runs, show one, or cancel it.

    Goes to the service of HEMOTRIAGE_URL and HEMOTRIAGE_API_KEY, or to that of `make run`; the key
    needs the scope `admin`.
    """


@command.command("start")
@click.argument("architecture", type=click.Choice(ARCHITECTURES))
@click.option("--dataset", required=True, type=click.UUID, help="Id of the data set version.")
@click.option(
    "--protocol",
    type=click.Choice([str(protocol) for protocol in TrainingProtocol]),
    default=str(TrainingProtocol.GROUPED),
    show_default=True,
)
@click.option(
    "--recipe",
    type=click.Choice([str(recipe) for recipe in TrainingRecipe]),
    default=str(TrainingRecipe.ROBUST),
    show_default=True,
    help="The published training, or ours.",
)
@click.option("--seed", "seeds", type=int, multiple=True, default=[1], help="May be repeated.")
@click.option("--epochs", type=click.IntRange(min=1), help="At most; instead of the recipe's.")
@set_option
@click.option("--base", help="Version whose weights are trained further, NAME@VERSION.")
@click.option("--name", help="For people.")
@click.option("--wait", is_flag=True, help="Follow the run to its end.")
@_as_json
def start(
    overrides: tuple[str, ...], epochs: int | None, *, wait: bool, as_json: bool, **given: Any
) -> None:
    """Ask for a run; with --wait, the exit code tells whether it succeeded."""
    chosen = values_of(overrides)
    if epochs is not None:
        chosen["max_epochs"] = epochs
    client = Client(*service_address())
    dataset_id = str(given.pop("dataset"))
    request = {name: value for name, value in given.items() if value is not None}
    run = client.train({**request, "dataset_id": dataset_id, "overrides": chosen})
    if wait:
        for event in client.follow_training(run.id):
            if not as_json:
                click.echo(_told_line(event))
        run = client.training(run.id)
    click.echo(json_of(run) if as_json else _line(run))
    if run.status in _UNSUCCESSFUL:
        raise click.exceptions.Exit(1)


@command.command("list")
@click.option("--status", type=click.Choice([status.value for status in TrainingStatus]))
@click.option("--limit", type=click.IntRange(1, 200), default=50, show_default=True)
@_as_json
def list_all(status: str | None, limit: int, *, as_json: bool) -> None:
    """List runs, newest first."""
    runs = Client(*service_address()).trainings(status=status, limit=limit)
    if as_json:
        click.echo(json.dumps([run.model_dump(mode="json") for run in runs]))
        return
    for run in runs:
        click.echo(_line(run))


@command.command("show")
@click.argument("run_id", metavar="ID", type=click.UUID)
@_as_json
def show(run_id: object, *, as_json: bool) -> None:
    """Show a run: where it stands, its epochs, and at last how it measured."""
    run = Client(*service_address()).training(str(run_id))
    if as_json:
        click.echo(json_of(run))
        return
    click.echo(_line(run))
    table = Table("seed", "epoch", "loss", "accuracy", "validation loss", "validation accuracy")
    for epoch in run.epochs:
        seed = f"{epoch['seed']}{' (sibling)' if epoch['sibling'] else ''}"
        names = ("loss", "accuracy", "val_loss", "val_accuracy")
        figures = (f"{epoch[name]:.4f}" for name in names)
        table.add_row(seed, f"{epoch['epoch']}/{epoch['of']}", *figures)
    stdout_console().print(table)
    for measured in _measured(run):
        click.echo(measured)


@command.command("cancel")
@click.argument("run_id", metavar="ID", type=click.UUID)
def cancel(run_id: object) -> None:
    """Cancel a run that is queued or running."""
    click.echo(_line(Client(*service_address()).cancel_training(str(run_id))))


def _told_line(event: TrainingEvent) -> str:
    if event.kind is EventKind.LOG:
        return str(event.told["text"])
    kept = {name: value for name, value in event.told.items() if name != "error"}
    shown = (
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in kept.items()
    )
    return " ".join(shown)


def _line(run: TrainingSummary) -> str:
    shown = [run.id, run.status, run.architecture, f"attempts={run.attempts}"]
    shown.append(f"progress={run.progress:.0%}")
    if run.seconds_left is not None:
        shown.append(f"left={run.seconds_left:.0f}s")
    if run.name:
        shown.append(f"name={run.name}")
    if run.error:
        shown.append(f"{run.error.code}: {run.error.detail}")
    return " ".join(shown)


def _measured(run: Training) -> list[str]:
    """A line a seed: how it did on the part that was held out."""
    if run.record is None:
        return []
    runs = run.record["models"][run.architecture]["runs"]
    accuracies = ((one["plan"]["seed"], one["metrics"]["accuracy"]) for one in runs)
    return [f"seed {seed}: {right['count']} of {right['of']} right" for seed, right in accuracies]
