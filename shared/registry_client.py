"""A client of the service's model registry over HTTP."""

from __future__ import annotations

import time
from typing import Any

from shared.client import Client, NotFinishedError, body_of

_PAUSE_SECONDS = 2
_SECOND_KEY = "X-Second-Key"


class RegistryClient(Client):
    """Speaks to one service with one admin's key. Each call may raise `RefusedError`."""

    def models(self) -> dict[str, Any]:
        """All model versions, the aliases and the canary's share."""
        return body_of(self._http.get("/v1/models"))

    def request_gate(
        self, name: str, version: int, *, dataset_id: str | None = None
    ) -> dict[str, Any]:
        """Have a version judged on a locked test set; None: on the newest."""
        path = f"{_version_path(name, version)}/gates"
        return body_of(self._http.post(path, json={"dataset_id": dataset_id}))

    def wait_for_gate(self, gate_id: str, *, timeout: float = 6 * 3600) -> dict[str, Any]:
        """Wait for a gate's end, in seconds.

        Raises:
            NotFinishedError: It did not end in time.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            gate = body_of(self._http.get(f"/v1/gates/{gate_id}"))
            if gate["status"] not in ("queued", "running"):
                return gate
            time.sleep(_PAUSE_SECONDS)
        raise NotFinishedError(f"Gate {gate_id}.")

    def set_alias(
        self, alias: str, name: str, request: dict[str, Any], *, second_key: str | None = None
    ) -> dict[str, Any]:
        """Have an alias stand for a version.

        Args:
            alias: `champion` or `challenger`.
            name: The model's name.
            request: `version`, and what else the call takes.
            second_key: A second admin's key.

        Returns:
            The aliases from now on, and the canary's share.
        """
        headers = {} if second_key is None else {_SECOND_KEY: second_key}
        path = f"/v1/models/{name}/aliases/{alias}"
        return body_of(self._http.put(path, json=request, headers=headers))

    def retire_challenger(self) -> dict[str, Any]:
        """Have no challenger; returns the aliases from now on."""
        return body_of(self._http.delete("/v1/models/aliases/challenger"))

    def roll_back(self, *, reason: str | None = None) -> dict[str, Any]:
        """Make the former champion champion again; returns the aliases from now on.

        The champion that is seen now is the one that goes: if somebody else is faster, the call is
        refused.
        """
        champion = self.models()["aliases"].get("champion")
        request = {"reason": reason, "champion": champion}
        return body_of(self._http.post("/v1/models/rollback", json=request))

    def shadow(self, name: str, version: int) -> dict[str, Any]:
        """How a challenger agrees with the results of the champion."""
        return body_of(self._http.get(f"{_version_path(name, version)}/shadow"))


def _version_path(name: str, version: int) -> str:
    return f"/v1/models/{name}/versions/{version}"
