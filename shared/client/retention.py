"""Legal holds and erasures."""

from __future__ import annotations

import datetime as dt
import time

from shared.auth.tenants import DEFAULT_TENANT
from shared.client.answers import Answer
from shared.client.errors import NotFinishedError
from shared.client.transport import PAUSE_SECONDS, Transport, read
from shared.retention.erasures import ErasureStatus
from shared.retention.holds import HoldKind


class Hold(Answer):
    """A legal hold as it stands; `released_at` is None while it holds."""

    id: str
    tenant: str
    kind: HoldKind
    value: str
    reason: str
    placed_by: str
    placed_at: dt.datetime
    released_by: str | None
    released_at: dt.datetime | None


class HoldList(Answer):
    """Holds, newest first."""

    holds: list[Hold]


class ErasureLinks(Answer):
    """Where an erasure is."""

    self: str


class Erasure(Answer):
    """An erasure as it stands; `counts` are rows by table."""

    id: str
    tenant: str
    status: ErasureStatus
    reason: str
    requested_by: str
    requested_at: dt.datetime
    finished_at: dt.datetime | None
    counts: dict[str, int]
    jobs: list[str]
    orders: list[str]
    datasets: list[str]
    models: list[str]
    holds: list[str]
    links: ErasureLinks


class ErasureList(Answer):
    """The newest erasures, newest first."""

    erasures: list[Erasure]


class Retention(Transport):
    """Calls of `/v1/holds` and `/v1/erasures`; all need the scope `admin`."""

    def place_hold(
        self, kind: str, value: str, *, reason: str, tenant: str = DEFAULT_TENANT
    ) -> Hold:
        """Keep something from being purged and erased.

        Args:
            kind: `job`, `patient_ref` or `accession_number`.
            value: What it names.
            reason: A code, such as a matter's number.
            tenant: Whose data are held.
        """
        body = {"tenant": tenant, "kind": kind, "value": value, "reason": reason}
        return read(Hold, self._send("POST", "/v1/holds", json=body))

    def holds(self, *, released: bool = False) -> list[Hold]:
        """The newest holds; with `released` those that hold no more too."""
        params = {"released": str(released).lower()}
        return self._read(HoldList, "/v1/holds", params=params).holds

    def release_hold(self, hold_id: str) -> Hold:
        """Release a hold.

        Raises:
            RefusedError: It was released before (`conflict`).
        """
        return read(Hold, self._send("DELETE", f"/v1/holds/{hold_id}"))

    def request_erasure(
        self, patient_ref: str, *, reason: str, tenant: str = DEFAULT_TENANT
    ) -> Erasure:
        """Ask for all data of a tenant's patient to be erased, by the pseudonym.

        Raises:
            RefusedError: A hold covers some of it (`legal_hold`); nothing is erased.
        """
        body = {"tenant": tenant, "patient_ref": patient_ref, "reason": reason}
        return read(Erasure, self._send("POST", "/v1/erasures", json=body))

    def erasure(self, erasure_id: str) -> Erasure:
        """Read an erasure."""
        return self._read(Erasure, f"/v1/erasures/{erasure_id}")

    def erasures(self, *, limit: int = 50) -> list[Erasure]:
        """The newest erasures, newest first."""
        return self._read(ErasureList, "/v1/erasures", params={"limit": limit}).erasures

    def wait_for_erasure(self, erasure_id: str, *, timeout: float = 60) -> Erasure:
        """Wait until an erasure is done or refused, in seconds.

        Raises:
            NotFinishedError: It did not end in time.
        """
        deadline = time.monotonic() + timeout
        while (found := self.erasure(erasure_id)).status is ErasureStatus.QUEUED:
            if time.monotonic() > deadline:
                raise NotFinishedError(f"Erasure {erasure_id}.")
            time.sleep(PAUSE_SECONDS)
        return found
