"""The Celery tasks. A message is a job id; everything else is in the database."""

from __future__ import annotations

import uuid
from typing import Any

from celery import Celery

from services.worker.inference import JobRunner
from shared.queue.names import INFER_TASK


def register_tasks(app: Celery, runner: JobRunner) -> None:
    """Bind the tasks to what they run on."""

    @app.task(name=INFER_TASK, bind=True)
    def infer(self: Any, job_id: str) -> None:
        """Run one queued job to its result. Safe to deliver any number of times."""
        runner.run(uuid.UUID(job_id), worker=self.request.hostname)
