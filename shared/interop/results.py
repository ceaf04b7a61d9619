"""What every representation of a result is made of."""

from __future__ import annotations

import uuid

from shared.errors import NoResultError, NotAcceptableError
from shared.jobs.entities import Job
from shared.triage.result import TriageResult
from shared.triage.wording import Language, worded

SOFTWARE = "hemotriage"


class NoDicomSourceError(NotAcceptableError):
    """None of the job's images came as DICOM, so that there is no study to report on."""

    code = "no_dicom_source"


def result_of(job: Job, language: Language = Language.ENGLISH) -> TriageResult:
    """The result of a job, with its texts in a language.

    Raises:
        NoResultError: The job has none.
    """
    if job.result is None:
        raise NoResultError(f"The job is {job.status}.")
    document = {**worded(job.result, language), "images_purged_at": job.images_purged_at}
    return TriageResult.model_validate(document)


def identity(job: Job, part: str) -> uuid.UUID:
    """The id of a part of what is made of a job: always the same, so that a receiver can tell.

    Source: RFC 9562 section 5.5 (version 5), with the job's id as the name space.
    """
    return uuid.uuid5(job.id, part)
