"""Training runs: asked for, followed, taken back."""

from __future__ import annotations

import uuid
from typing import Any

from flask import Blueprint, redirect, request, url_for
from werkzeug.wrappers import Response

from services.api.auth import actor
from services.api.console.codes import in_words
from services.api.console.forms import given
from services.api.console.rendering import page
from services.api.console.visitor import needs
from services.api.console.words import say as _
from services.api.context import context
from services.api.dataset_intake import validated
from services.api.training_intake import request_training
from shared.auth.keys import Scope
from shared.datasets.queries import ready_datasets
from shared.errors import PermanentError
from shared.trainings import queue
from shared.trainings.request import (
    ARCHITECTURES,
    Overrides,
    TrainingProtocol,
    TrainingRecipe,
    TrainingRequest,
)
from shared.trainings.states import EventKind, TrainingRun

_LISTED = 100
_LINES = 200
_FIGURES = {"loss": ("loss", "val_loss"), "accuracy": ("accuracy", "val_accuracy")}
_OVERRIDES = tuple(Overrides.model_fields)


def add(bp: Blueprint) -> None:
    """Add these pages."""
    bp.add_url_rule("/trainings", "trainings", show_trainings)
    bp.add_url_rule("/trainings", "start_training", do_start, methods=["POST"])
    bp.add_url_rule("/trainings/<uuid:run_id>", "training", show_training)
    bp.add_url_rule("/trainings/<uuid:run_id>/curves/<figure>", "training_curves", curves)
    bp.add_url_rule(
        "/trainings/<uuid:run_id>/cancel", "cancel_training", do_cancel, methods=["POST"]
    )


@needs(Scope.ADMIN)
def show_trainings() -> str:
    """The newest runs, and the form for another one."""
    template = "trainings_rows.html" if request.headers.get("HX-Request") else "trainings.html"
    return page(template, **_listed(), **_choices())


@needs(Scope.ADMIN)
def do_start() -> Response | tuple[str, int]:
    """Queues a run."""
    try:
        run = request_training(validated(TrainingRequest, _asked(given(request.form))))
    except PermanentError as error:
        shown = page("trainings.html", refusal=error, **_listed(), **_choices())
        return shown, int(error.http_status)
    return redirect(url_for("console.training", run_id=run.id))


@needs(Scope.ADMIN)
def show_training(run_id: uuid.UUID) -> str:
    """One run; asked for again until it has ended."""
    sessions = context().sessions
    run = queue.get_training(sessions, run_id)
    template = "training_state.html" if request.headers.get("HX-Request") else "training.html"
    return page(template, run=run, lines=_log(run), figures=[*_FIGURES], in_words=in_words)


@needs(Scope.ADMIN)
def curves(run_id: uuid.UUID, figure: str) -> dict[str, Any]:
    """The figures of the epochs for a chart: a line a run, on what it trains and on the rest."""
    sessions = context().sessions
    run = queue.get_training(sessions, run_id)
    epochs = [event.document for event in queue.events(sessions, run_id, kinds=[EventKind.EPOCH])]
    numbers = sorted({epoch["epoch"] for epoch in epochs})
    lines: dict[str, dict[int, float]] = {}
    for epoch in epochs:
        for name in {*_FIGURES.get(figure, ())} & epoch.keys():
            lines.setdefault(_label(epoch, name), {})[epoch["epoch"]] = epoch[name]
    labels = sorted(lines)
    return {
        "x": numbers,
        "labels": labels,
        "series": [[lines[label].get(number) for number in numbers] for label in labels],
        "final": run.status.is_final,
    }


@needs(Scope.ADMIN)
def do_cancel(run_id: uuid.UUID) -> Response:
    """Takes a run back."""
    queue.cancel(context().sessions, run_id, actor=actor())
    return redirect(url_for("console.training", run_id=run_id))


def _label(epoch: dict[str, Any], name: str) -> str:
    seed = epoch["seed"]
    of = _("seed {seed}, for the calibration", seed=seed)
    run = of if epoch["sibling"] else _("seed {seed}", seed=seed)
    part = _("validation") if name.startswith("val_") else _("training")
    return f"{run}: {part}"


def _asked(form: dict[str, str]) -> dict[str, Any]:
    """The request of a form: its overrides have fields of their own, seeds are a list."""
    values: dict[str, Any] = {name: form[name] for name in form if name not in _OVERRIDES}
    values["overrides"] = {name: form[name] for name in _OVERRIDES if name in form}
    if "seeds" in values:
        values["seeds"] = values["seeds"].replace(",", " ").split()
    return values


def _log(run: TrainingRun) -> list[str]:
    after = max(0, run.last_event - _LINES)
    lines = queue.events(context().sessions, run.id, after=after, kinds=[EventKind.LOG])
    return [f"{line.at:%H:%M:%S}  {line.document['text']}" for line in lines]


def _listed() -> dict[str, Any]:
    return {"runs": queue.list_trainings(context().sessions, limit=_LISTED)}


def _choices() -> dict[str, Any]:
    ctx = context()
    return {
        "datasets": ready_datasets(ctx.sessions, locked=False),
        "architectures": ARCHITECTURES,
        "protocols": [*TrainingProtocol],
        "recipes": [*TrainingRecipe],
        "bases": ctx.registry.versions(),
    }
