"""What in an image its prediction rests on."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from shared.client.answers import Answer
from shared.client.errors import NotFinishedError
from shared.client.transport import PAUSE_SECONDS, Transport, read
from shared.explanations.method import Method

_PROGRESS_SECONDS = 2


class ExplanationLinks(Answer):
    """Where an explanation's picture is."""

    png: str


class Explanation(Answer):
    """An explanation as it stands; `document` has its figures once it is made."""

    job_id: str
    image: int
    method: Method
    status: str
    progress: float
    requested_at: dt.datetime
    finished_at: dt.datetime | None
    document: dict[str, Any] | None
    links: ExplanationLinks


class Explanations(Transport):
    """Calls of `/v1/jobs/{id}/images/{n}/explanation`."""

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
            response = self._send("GET", path, params=query, headers=headers)
            if response.status_code == HTTPStatus.OK:
                return response.content
            progress(read(Explanation, response).progress)
            time.sleep(PAUSE_SECONDS)
        raise NotFinishedError(f"Explanation of job {job_id}.")
