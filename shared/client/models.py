"""Model versions: what there is, how it is judged, and what the aliases stand for."""

from __future__ import annotations

import datetime as dt
import time
from typing import Any

from shared.client.answers import Answer, Failure
from shared.client.errors import NotFinishedError
from shared.client.transport import POLL_SECONDS, Transport, read
from shared.registry.states import GateStatus

_SECOND_KEY = "X-Second-Key"


class VersionGate(Answer):
    """The newest gate of a version, in short."""

    id: str
    status: GateStatus
    champion: str | None


class ModelVersion(Answer):
    """A model version with the aliases that stand for it."""

    name: str
    version: int
    aliases: list[str]
    architecture: str
    metrics: dict[str, Any]
    origin: str
    training_id: str | None
    registered_at: dt.datetime | None
    dataset_id: str | None
    gate: VersionGate | None


class Aliases(Answer):
    """What the aliases stand for, each a `NAME@VERSION`; the share is the challenger's, in %."""

    aliases: dict[str, str]
    canary_percent: int


class ModelList(Aliases):
    """All model versions."""

    models: list[ModelVersion]


class GateLinks(Answer):
    """Where a gate is, and the card of what it judges."""

    self: str
    model: str


class Gate(Answer):
    """A gate as it stands; `report` has `criteria`, `reasons` and `figures` once it is judged."""

    id: str
    model: str
    champion: str | None
    dataset_id: str
    status: GateStatus
    attempts: int
    error: Failure | None
    policy_sha256: str | None
    requested_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    links: GateLinks
    report: dict[str, Any] | None


class Reviewed(Answer):
    """Jobs with a review, and how many of them each of the two had right by the newest."""

    jobs: int
    result_right: int
    challenger_right: int


class Agreement(Answer):
    """What a challenger says of the results that others gave; counts are of jobs."""

    model: str
    jobs: int
    errors: int
    compared: int
    same_prediction: int
    same_urgency: int
    agreeing: int
    lowered: int
    raised: int
    to_benign: int
    to_malignant: int
    confusion: dict[str, dict[str, int]]
    result_confidence: float | None
    challenger_confidence: float | None
    first_at: dt.datetime | None
    last_at: dt.datetime | None
    reviewed: Reviewed


class Models(Transport):
    """Calls of `/v1/models` and `/v1/gates`; all but reading needs the scope `admin`."""

    def models(self) -> ModelList:
        """All model versions, the aliases and the canary's share."""
        return self._read(ModelList, "/v1/models")

    def request_gate(self, name: str, version: int, *, dataset_id: str | None = None) -> Gate:
        """Have a version judged on a locked test set; None: on the newest."""
        path = f"{_version_path(name, version)}/gates"
        return read(Gate, self._send("POST", path, json={"dataset_id": dataset_id}))

    def wait_for_gate(self, gate_id: str, *, timeout: float = 6 * 3600) -> Gate:
        """Wait for a gate's end, in seconds.

        Raises:
            NotFinishedError: It did not end in time.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            gate = self._read(Gate, f"/v1/gates/{gate_id}")
            if gate.status.is_final:
                return gate
            time.sleep(POLL_SECONDS)
        raise NotFinishedError(f"Gate {gate_id}.")

    def set_alias(
        self,
        alias: str,
        name: str,
        version: int,
        *,
        reason: str | None = None,
        canary_percent: int | None = None,
        second_key: str | None = None,
    ) -> Aliases:
        """Have an alias stand for a version.

        Args:
            alias: `champion` or `challenger`.
            name: The model's name.
            version: Its version.
            reason: Why it is to be without a passed gate; with a second key.
            canary_percent: Of a challenger, its share of the champion's jobs, 0 to 100.
            second_key: A second admin's key.

        Returns:
            The aliases from now on, and the canary's share.

        Raises:
            RefusedError: The version has passed no gate, or the second key is none.
        """
        headers = {} if second_key is None else {_SECOND_KEY: second_key}
        request = {"version": version, "reason": reason, "canary_percent": canary_percent}
        path = f"/v1/models/{name}/aliases/{alias}"
        return read(Aliases, self._send("PUT", path, json=request, headers=headers))

    def retire_challenger(self) -> Aliases:
        """Have no challenger; returns the aliases from now on."""
        return read(Aliases, self._send("DELETE", "/v1/models/aliases/challenger"))

    def roll_back(self, *, reason: str | None = None) -> Aliases:
        """Make the former champion champion again; returns the aliases from now on.

        The champion that is seen now is the one that goes: if somebody else is faster, the call is
        refused.
        """
        champion = self.models().aliases.get("champion")
        request = {"reason": reason, "champion": champion}
        return read(Aliases, self._send("POST", "/v1/models/rollback", json=request))

    def shadow(self, name: str, version: int) -> Agreement:
        """How a challenger agrees with the results of the champion."""
        return self._read(Agreement, f"{_version_path(name, version)}/shadow")


def _version_path(name: str, version: int) -> str:
    return f"/v1/models/{name}/versions/{version}"
