"""Jobs: post the fields of a specimen, and wait for their result."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from shared.client.answers import Answer, Failure
from shared.client.errors import NotFinishedError
from shared.client.results import Result
from shared.client.transport import PAUSE_SECONDS, Transport, read
from shared.jobs.states import Priority, Status

_WAIT_SECONDS = 20


class JobLinks(Answer):
    """Where a job's parts are."""

    self: str
    result: str
    images: list[str]
    explanations: list[str]


class JobAccepted(Answer):
    """The answer to a posted job."""

    id: str
    status: Status
    links: JobLinks


class Job(JobAccepted):
    """A job as it stands."""

    priority: Priority
    model: str
    accession_number: str | None
    specimen_id: str | None
    patient_ref: str | None
    request_id: str | None = None
    submitted_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    attempts: int
    error: Failure | None
    result: Result | None


class JobPage(Answer):
    """A page of jobs, newest first; `next_cursor` leads to the next one."""

    jobs: list[Job]
    next_cursor: str | None


class Jobs(Transport):
    """Calls of `/v1/jobs`."""

    def submit(
        self,
        files: Sequence[Path],
        *,
        fields: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> JobAccepted:
        """Post the fields of one specimen as one job.

        Args:
            files: Images or DICOM files; their names are not sent.
            fields: Form fields besides, such as `accession_number` and `priority`.
            idempotency_key: The same key and content give the same job, so that the call may be
                repeated; with one it is sent again while the service is busy.

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
            response = self._send(
                "POST",
                "/v1/jobs",
                data=fields,
                files=images,
                headers=headers,
                repeatable=idempotency_key is not None,
            )
        return read(JobAccepted, response)

    def job(self, job_id: str, *, wait: float = 0) -> Job:
        """Read a job, waiting up to `wait` seconds (at most 30) for its end."""
        return self._read(Job, f"/v1/jobs/{job_id}", params={"wait": wait})

    def wait(self, job_id: str, *, timeout: float = 300) -> Job:
        """Wait for a job's end, in seconds.

        Raises:
            NotFinishedError: It did not end in time.
        """
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            job = self.job(job_id, wait=round(min(left, _WAIT_SECONDS), 1))
            if job.status.is_final:
                return job
            time.sleep(PAUSE_SECONDS)
        raise NotFinishedError(f"Job {job_id}.")

    def jobs(self, *, limit: int = 50, cursor: str | None = None, **filters: str) -> JobPage:
        """Read a page of jobs; `filters` as in the query of `GET /v1/jobs`, such as `urgency`."""
        page = {"cursor": cursor} if cursor else {}
        return self._read(JobPage, "/v1/jobs", params={"limit": limit, **page, **filters})

    def each_job(self, **filters: str) -> Iterator[Job]:
        """All jobs that `filters` let through, newest first, page by page."""
        cursor = None
        while True:
            page = self.jobs(limit=200, cursor=cursor, **filters)
            yield from page.jobs
            if (cursor := page.next_cursor) is None:
                return

    def cancel(self, job_id: str) -> Job:
        """Take a queued job back.

        Raises:
            RefusedError: It is running or has ended (`conflict`).
        """
        return read(Job, self._send("DELETE", f"/v1/jobs/{job_id}"))
