"""Asks for training runs, for clients and for the pages of the console."""

from __future__ import annotations

from services.api.auth import actor
from services.api.context import context
from shared.trainings import queue
from shared.trainings.request import TrainingRequest, check_base
from shared.trainings.states import TrainingRun


def request_training(asked: TrainingRequest) -> TrainingRun:
    """Queue a run, once its base and its data set are found to be usable.

    Raises:
        UnknownModelError: There is no such base.
        BaseMismatchError: It is of another architecture.
        PermanentError: As of `shared.trainings.queue.request`.
    """
    ctx = context()
    if asked.base is not None:
        base = ctx.registry.resolve(asked.base)
        check_base(base, asked.architecture)
        asked = asked.model_copy(update={"base": str(base)})
    return queue.request(ctx.sessions, asked, actor=actor())
