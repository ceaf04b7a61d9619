"""The Celery tasks. A message is a job id; everything else is in the database."""

from __future__ import annotations

import uuid
from typing import Any

from celery import Celery
from celery.worker.request import Request

from services.worker.inference import JobRunner
from shared.queue.names import INFER_TASK


class Unacknowledged(Request):  # type: ignore[misc]
    """A request whose message was taken for good, as every queue is read (`create_celery`)."""

    def acknowledge(self) -> None:
        """Tell the broker nothing; Celery would."""
        self.acknowledged = True


def register_tasks(app: Celery, runner: JobRunner) -> None:
    """Bind the tasks to what they run on."""

    @app.task(name=INFER_TASK, bind=True, Request=Unacknowledged)
    def infer(self: Any, job_id: str) -> None:
        """Run one queued job to its result. Safe to deliver any number of times."""
        runner.run(uuid.UUID(job_id), worker=self.request.hostname)
