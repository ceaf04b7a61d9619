"""Training runs: ask for one, follow it, take it back."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import httpx
from pydantic import ConfigDict

from shared.client.answers import Answer, Failure
from shared.client.transport import POLL_SECONDS, Transport, read, refusal
from shared.trainings.states import EventKind, TrainingStatus


class TrainingLinks(Answer):
    """Where a run's parts are."""

    self: str
    logs: str
    events: str


class TrainingSummary(Answer):
    """A run in a list; `progress` is between 0 and 1, `registered` a `NAME@VERSION`."""

    id: str
    name: str | None
    status: TrainingStatus
    architecture: str
    dataset_id: str
    protocol: str
    recipe: str
    seeds: list[int]
    overrides: dict[str, Any]
    base: str | None
    progress: float
    seconds_left: float | None
    device: str | None
    attempts: int
    registered: str | None
    error: Failure | None
    requested_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    links: TrainingLinks


class Training(TrainingSummary):
    """A run as it stands, with the figures of each finished epoch."""

    epochs: list[dict[str, Any]]
    record: dict[str, Any] | None
    registration_error: Failure | None


class TrainingList(Answer):
    """Runs, newest first."""

    trainings: list[TrainingSummary]


class TrainingEvent(Answer):
    """What is told of a run: figures of an epoch, a line of its log, or a new status."""

    model_config = ConfigDict(extra="allow")

    kind: EventKind
    at: str

    @property
    def told(self) -> dict[str, Any]:
        """What belongs to an event of its kind."""
        return self.model_extra or {}


class Trainings(Transport):
    """Calls of `/v1/trainings`; the key needs the scope `admin`."""

    def train(self, request: Mapping[str, Any]) -> Training:
        """Ask for a training run, as `POST /v1/trainings` takes it.

        Raises:
            RefusedError: The service refused it, with the service's own code.
        """
        return read(Training, self._send("POST", "/v1/trainings", json=dict(request)))

    def training(self, run_id: str) -> Training:
        """Read a training run with the figures of its epochs."""
        return self._read(Training, f"/v1/trainings/{run_id}")

    def trainings(self, *, status: str | None = None, limit: int = 50) -> list[TrainingSummary]:
        """The newest training runs, of one status or of any."""
        query: dict[str, str | int] = {"limit": limit, **({"status": status} if status else {})}
        return self._read(TrainingList, "/v1/trainings", params=query).trainings

    def follow_training(self, run_id: str) -> Iterator[TrainingEvent]:
        """What is told of a training run, as it is told, until the run ends.

        Raises:
            RefusedError: There is no such run, or too many listen (`too_many_listeners`).
        """
        after = "0"
        while True:
            headers = {"Last-Event-ID": after}
            with self._http.stream(
                "GET", f"/v1/trainings/{run_id}/events", headers=headers
            ) as response:
                if response.status_code == HTTPStatus.NO_CONTENT:
                    return
                if response.is_error:
                    response.read()
                    raise refusal(response)
                with suppress(httpx.TransportError):  # the service restarts
                    for line in response.iter_lines():
                        field, _, value = line.partition(": ")
                        if field == "id":
                            after = value
                        elif field == "data":
                            yield TrainingEvent.model_validate_json(value)
            time.sleep(POLL_SECONDS)

    def cancel_training(self, run_id: str) -> Training:
        """Take a training run back.

        Raises:
            RefusedError: It has ended.
        """
        return read(Training, self._send("DELETE", f"/v1/trainings/{run_id}"))
