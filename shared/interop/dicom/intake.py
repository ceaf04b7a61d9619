"""Makes a job of DICOM instances: what the web service and the gateway do alike."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass

from shared.auth.keys import ApiKey
from shared.db.session import Sessions
from shared.errors import TooManyFilesError
from shared.interop.dicom.frames import common
from shared.interop.dicom.read import Instance
from shared.jobs.admission import Admission
from shared.jobs.entities import JobRequest
from shared.jobs.outbox import Outbox
from shared.jobs.states import Priority
from shared.jobs.submit import Submission, Upload, fingerprint, submit
from shared.orders.fill import filled, order_of, priority_of
from shared.registry.catalogue import Catalogue
from shared.registry.states import Alias
from shared.settings import Settings
from shared.storage import ObjectStore


@dataclass(frozen=True)
class DicomIntake:
    """Accepts jobs of DICOM instances; safe to share between threads."""

    settings: Settings
    sessions: Sessions
    storage: ObjectStore
    outbox: Outbox
    admission: Admission
    registry: Catalogue

    def accept(
        self,
        key: ApiKey,
        instances: Sequence[Instance],
        uploads: Sequence[Upload],
        priority: Priority | None = None,
    ) -> Submission:
        """Store the images and commit the job, for the champion.

        The same instances with the same pixels are the same job, however often they are sent.
        What the headers do not say, the order says that has their accession number.

        Args:
            key: Whose job it is.
            instances: Of one study and one specimen.
            uploads: Their frames, in order.
            priority: Of the job; None: that of its order, else routine.

        Raises:
            TooManyFilesError: There are more frames than a job may have.
            MixedSpecimensError: The instances are of several specimens.
            HemotriageError: It cannot be accepted now; nothing was.
        """
        if len(uploads) > self.settings.max_files:
            raise TooManyFilesError(f"{len(uploads)} frames; at most {self.settings.max_files}.")
        about = common(instances)
        hashes = [upload.sha256 for upload in uploads]
        ids = sorted(instance.instance_uid for instance in instances)
        digest = hashlib.sha256(" ".join([*ids, *hashes]).encode()).hexdigest()
        order = order_of(self.sessions, about.accession_number, tenant=key.tenant)
        priority = priority_of(priority, order)
        self.admission.admit(key, priority)
        model = self.registry.resolve_for_job(Alias.CHAMPION, random.random())  # noqa: S311 - no secret
        request = JobRequest(
            api_key_id=key.id,
            tenant=key.tenant,
            model_name=model.name,
            model_version=model.version,
            priority=priority,
            accession_number=about.accession_number,
            specimen_id=about.specimen_id,
            patient_ref=about.patient_ref,
            idempotency_key=f"dicom:{digest}",
            expire_after_seconds=self.settings.expire_after_seconds,
            request_sha256=fingerprint([("instances", " ".join(ids))], hashes),
        )
        request = filled(request, order)
        return submit(self.sessions, self.storage, self.outbox, request, uploads)
