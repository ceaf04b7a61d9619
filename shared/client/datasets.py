"""Data set versions: upload them, make them of reviews, wait for their import."""

from __future__ import annotations

import datetime as dt
import time
from typing import Any, BinaryIO

from shared.client.answers import Answer, Failure
from shared.client.errors import NotFinishedError
from shared.client.transport import POLL_SECONDS, Transport, read
from shared.datasets.states import DatasetSource, DatasetStatus


class DatasetLinks(Answer):
    """Where a data set's parts are."""

    self: str
    manifest: str


class DatasetSummary(Answer):
    """A data set in a list; `version` is None until it is ready."""

    id: str
    name: str | None
    source: DatasetSource
    locked: bool
    status: DatasetStatus
    version: str | None
    same_as: str | None
    counts: dict[str, int] | None
    error: Failure | None
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    attempts: int
    withdrawn_at: dt.datetime | None
    links: DatasetLinks


class Fault(Answer):
    """What is wrong with an image."""

    label: str
    sha256: str
    code: str
    detail: str
    left_out: bool


class Leak(Answer):
    """A data set that shows the same, and how many images of this one it shows."""

    dataset_id: str
    name: str | None
    images: int


class Dataset(DatasetSummary):
    """A data set as it stands; `statistics` is None until it is ready."""

    lineage: dict[str, Any]
    statistics: dict[str, Any] | None
    faults: list[Fault]
    leaks_into: list[Leak]
    leaks_from: list[Leak]


class DatasetList(Answer):
    """The newest data sets, newest first."""

    datasets: list[DatasetSummary]


class Datasets(Transport):
    """Calls of `/v1/datasets`; the key needs the scope `admin`."""

    def upload_dataset(
        self, archive: BinaryIO, *, name: str | None = None, locked: bool = False
    ) -> Dataset:
        """Send a zip of class folders, in pieces; its import then waits.

        Args:
            archive: The zip, opened for reading.
            name: For people; never a patient's.
            locked: A test set: nothing may be trained on it.

        Raises:
            RefusedError: The service refused it, with the service's own code.
        """
        query: dict[str, str | bool] = {"locked": locked, **({"name": name} if name else {})}
        headers = {"Content-Type": "application/zip"}
        response = self._send(
            "POST", "/v1/datasets", params=query, content=archive, headers=headers
        )
        return read(Dataset, response)

    def dataset_from_reviews(
        self,
        *,
        base: str | None = None,
        reviews_since: str | None = None,
        tenant: str | None = None,
        name: str | None = None,
    ) -> Dataset:
        """Ask for a data set of reviewed images.

        Args:
            base: Id of a data set whose images it has too.
            reviews_since: Id of a data set: reviews from when that was asked for; None: all.
            tenant: Whose reviews; None: those of the tenant `default`.
            name: For people; never a patient's.
        """
        request = {"base": base, "reviews_since": reviews_since, "name": name}
        if tenant is not None:
            request["tenant"] = tenant
        return read(Dataset, self._send("POST", "/v1/datasets", json=request))

    def dataset(self, dataset_id: str) -> Dataset:
        """Read a data set as it stands."""
        return self._read(Dataset, f"/v1/datasets/{dataset_id}")

    def datasets(self, *, limit: int = 50) -> list[DatasetSummary]:
        """The newest data sets."""
        return self._read(DatasetList, "/v1/datasets", params={"limit": limit}).datasets

    def wait_for_dataset(self, dataset_id: str, *, timeout: float = 3600) -> Dataset:
        """Wait for the end of a data set's import, in seconds.

        Raises:
            NotFinishedError: It did not end in time.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            found = self.dataset(dataset_id)
            if found.status not in (DatasetStatus.QUEUED, DatasetStatus.RUNNING):
                return found
            time.sleep(POLL_SECONDS)
        raise NotFinishedError(f"Data set {dataset_id}.")
