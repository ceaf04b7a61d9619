"""A client of the service over HTTP."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO

import httpx

from shared.errors import HemotriageError, TransientError
from shared.explanations.method import Method
from shared.interop.forms import MEDIA_TYPES, ResultForm

_WAIT_SECONDS = 20
_PROGRESS_SECONDS = 2
_PAUSE_SECONDS = 0.2
_TIMEOUT_SECONDS = 60
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class RefusedError(HemotriageError):
    """The service refused the request."""

    def __init__(self, problem: dict[str, Any]) -> None:
        self.code = str(problem.get("code", HemotriageError.code))
        super().__init__(f"{problem.get('title', '')} {problem.get('detail') or ''}".strip())


class NotFinishedError(TransientError):
    """It did not end in time; it goes on, and can be asked for later."""

    code = "not_finished"


class Client:
    """Speaks to one service with one key."""

    def __init__(self, url: str, api_key: str) -> None:
        self._http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {api_key}"},
            timeout=_TIMEOUT_SECONDS,
            # A proxy that the environment names cannot reach this machine's own address.
            trust_env=httpx.URL(url).host not in _LOOPBACK,
        )

    def submit(
        self,
        files: Sequence[Path],
        *,
        fields: dict[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        """Post the fields of one specimen as one job; returns `id`, `status` and `links`.

        Raises:
            RefusedError: The service refused it, with the service's own code.
        """
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        with ExitStack() as stack:
            # The files' names stay here: they may hold a patient's.
            images = [
                ("image", (f"image-{index}", stack.enter_context(path.open("rb"))))
                for index, path in enumerate(files)
            ]
            response = self._http.post("/v1/jobs", data=fields, files=images, headers=headers)
        return body_of(response)

    def job(self, job_id: str, *, wait: float = 0) -> dict[str, Any]:
        """Read a job, waiting up to `wait` seconds for its end."""
        return body_of(self._http.get(f"/v1/jobs/{job_id}", params={"wait": wait}))

    def wait(self, job_id: str, *, timeout: float = 300) -> dict[str, Any]:
        """Wait for a job's end, in seconds.

        Raises:
            NotFinishedError: It did not end in time.
        """
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            job = self.job(job_id, wait=round(min(left, _WAIT_SECONDS), 1))
            if job["status"] not in ("queued", "running"):
                return job
            # A busy service answers before the end of the wait.
            time.sleep(_PAUSE_SECONDS)
        raise NotFinishedError(f"Job {job_id}.")

    def result(self, job_id: str, *, form: ResultForm = ResultForm.JSON) -> bytes:
        """Read the result of a job, as the bytes of a document in this form.

        Raises:
            RefusedError: The job has no result, or cannot be written in this form.
        """
        headers = {"Accept": MEDIA_TYPES[form]}
        response = self._http.get(f"/v1/jobs/{job_id}/result", headers=headers)
        if response.is_error:
            body_of(response)
        return response.content

    def explanation(
        self,
        job_id: str,
        *,
        image: int = 0,
        method: Method = Method.GRADCAM,
        timeout: float = 900,
        progress: Callable[[float], object] = bool,
    ) -> bytes:
        """Ask for the explanation of a job's image, and wait for it.

        Args:
            job_id: A job with a result.
            image: Position of the image in the job, from 0.
            method: How it is explained.
            timeout: Longest wait, in seconds.
            progress: Told now and then how far it is, between 0 and 1.

        Returns:
            The bytes of a PNG.

        Raises:
            NotFinishedError: It did not end in time.
            RefusedError: The job has no result, or its explanation failed.
        """
        path = f"/v1/jobs/{job_id}/images/{image}/explanation"
        headers = {"Accept": "image/png"}
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            wait = round(min(left, _PROGRESS_SECONDS), 1)
            query: dict[str, str | float] = {"method": str(method), "wait": wait}
            response = self._http.get(path, params=query, headers=headers)
            if response.status_code == HTTPStatus.OK:
                return response.content
            progress(float(body_of(response)["progress"]))
            # A busy service answers before the end of the wait.
            time.sleep(_PAUSE_SECONDS)
        raise NotFinishedError(f"Explanation of job {job_id}.")

    def upload_dataset(
        self, archive: BinaryIO, *, name: str | None = None, locked: bool = False
    ) -> dict[str, Any]:
        """Send a zip of class folders, in pieces; returns the data set, whose import then waits.

        Raises:
            RefusedError: The service refused it, with the service's own code.
        """
        query: dict[str, str | bool] = {"locked": locked, **({"name": name} if name else {})}
        headers = {"Content-Type": "application/zip"}
        return body_of(
            self._http.post("/v1/datasets", params=query, content=archive, headers=headers)
        )

    def dataset_from_reviews(self, request: dict[str, Any]) -> dict[str, Any]:
        """Ask for a data set of reviewed images, as `POST /v1/datasets` takes it."""
        return body_of(self._http.post("/v1/datasets", json=request))

    def wait_for_dataset(self, dataset_id: str, *, timeout: float = 3600) -> dict[str, Any]:
        """Wait for the end of a data set's import, in seconds.

        Raises:
            NotFinishedError: It did not end in time.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            found = body_of(self._http.get(f"/v1/datasets/{dataset_id}"))
            if found["status"] not in ("queued", "running"):
                return found
            time.sleep(_PROGRESS_SECONDS)
        raise NotFinishedError(f"Data set {dataset_id}.")

    def train(self, request: dict[str, Any]) -> dict[str, Any]:
        """Ask for a training run, as `POST /v1/trainings` takes it.

        Raises:
            RefusedError: The service refused it, with the service's own code.
        """
        return body_of(self._http.post("/v1/trainings", json=request))

    def training(self, run_id: str) -> dict[str, Any]:
        """Read a training run with the figures of its epochs."""
        return body_of(self._http.get(f"/v1/trainings/{run_id}"))

    def trainings(self, *, status: str | None = None, limit: int = 50) -> list[dict[str, Any]]:
        """The newest training runs, of one status or of any."""
        query: dict[str, str | int] = {"limit": limit, **({"status": status} if status else {})}
        body = body_of(self._http.get("/v1/trainings", params=query))
        runs: list[dict[str, Any]] = body["trainings"]
        return runs

    def follow_training(self, run_id: str) -> Iterator[dict[str, Any]]:
        """What is told of a training run, as it is told, until the run ends.

        Yields:
            Each event's data: `kind` (`epoch`, `log`, `status`), `at`, and what was told.
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
                    body_of(response)
                with suppress(httpx.TransportError):  # the service restarts
                    for line in response.iter_lines():
                        field, _, value = line.partition(": ")
                        if field == "id":
                            after = value
                        elif field == "data":
                            yield json.loads(value)
            time.sleep(_PROGRESS_SECONDS)

    def cancel_training(self, run_id: str) -> dict[str, Any]:
        """Take a training run back.

        Raises:
            RefusedError: It has ended.
        """
        return body_of(self._http.delete(f"/v1/trainings/{run_id}"))


def body_of(response: httpx.Response) -> dict[str, Any]:
    """What an answer says.

    Raises:
        RefusedError: It is an error, with the service's own code.
    """
    try:
        body: dict[str, Any] = response.json()
    except ValueError:
        body = {"title": f"HTTP status {response.status_code} without a readable body."}
    if response.is_error:
        raise RefusedError(body)
    return body
