"""Whether all is as it would be had nothing happened: jobs, results, audit trail, objects."""

from __future__ import annotations

import hashlib
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from minio.error import MinioException

from shared.clock import utc_now
from tests.faults.load import Load
from tests.faults.pictures import POISON_PREFIX, pictures_of
from tests.faults.world import World

_TOLERANCE = 1e-6
_SWEEP_SECONDS = 25.0
_OUTBOX_SECONDS = 20.0
_SAMPLE = 40
_ENDS = ("job.succeeded", "job.failed", "job.cancelled", "job.dead")
_SHOWN = 5

_JOBS = """
SELECT j.id::text, j.idempotency_key, j.status, j.failures, j.attempts, j.error_code,
       r.prediction, r.document, (SELECT count(*) FROM results x WHERE x.job_id = j.id)
FROM jobs j LEFT JOIN results r ON r.job_id = j.id
WHERE j.idempotency_key LIKE %s ORDER BY j.submitted_at
"""
_AUDIT = """
SELECT a.job_id::text, a.action FROM audit_events a JOIN jobs j ON j.id = a.job_id
WHERE j.idempotency_key LIKE %s AND a.action LIKE 'job.%%' AND a.action <> 'job.reviewed'
ORDER BY a.id
"""
_IMAGES = """
SELECT i.job_id::text, i.index, i.object_key, i.sha256 FROM job_images i
JOIN jobs j ON j.id = i.job_id WHERE j.idempotency_key LIKE %s ORDER BY i.job_id, i.index
"""
UNFINISHED = """
SELECT count(*) FROM jobs WHERE idempotency_key LIKE %s AND status IN ('queued', 'running')
"""


@dataclass(frozen=True)
class JobEnd:
    """A job as it stands in the database."""

    job_id: str
    key: str
    status: str
    failures: int
    attempts: int
    error_code: str | None
    prediction: str | None
    document: dict[str, Any] | None
    results: int

    @property
    def recipe(self) -> str:
        """Which images it was made of."""
        return self.key.split(".")[1]


@dataclass
class Verdict:
    """The counts of one fault, and everything that is not as it must be."""

    accepted: int = 0
    finished: int = 0
    lost: int = 0
    doubled: int = 0
    complaints: list[str] = field(default_factory=list)

    def complain(self, what: str, cases: list[Any]) -> None:
        """Note what is wrong, with a few cases of it."""
        if cases:
            shown = ", ".join(str(case) for case in cases[:_SHOWN])
            self.complaints.append(f"{len(cases)} x {what}: {shown}")


Expected = dict[tuple[str, str], dict[str, Any]]
"""The result document of each recipe and model version in an undisturbed run."""


def made_of(key: str, document: dict[str, Any]) -> tuple[str, str]:
    """The recipe of a job, by its idempotency key, and the version that its result is of."""
    model = document["models"][0]
    return key.split(".")[1], f"{model['name']}@{model['version']}"


def judge(world: World, load: Load, expected: Expected, *, await_orphans: bool) -> Verdict:
    """Compare what the load left behind with an undisturbed run.

    Args:
        world: Where it ran.
        load: What was posted.
        expected: The results of the undisturbed run.
        await_orphans: Wait until objects without a job are old enough to be gone.
    """
    pattern = f"{load.prefix}.%"
    verdict = Verdict(accepted=len(load.accepted))
    jobs = [JobEnd(*row) for row in world.query(_JOBS, pattern)]
    _judge_accepted(verdict, load, {job.job_id: job for job in jobs})
    _judge_results(verdict, jobs, expected)
    _judge_audit(verdict, jobs, world.query(_AUDIT, pattern))
    _judge_images(verdict, world, jobs, world.query(_IMAGES, pattern))
    _judge_outbox(verdict, world)
    _judge_orphans(verdict, world, wait=await_orphans)
    verdict.complain("refused", load.refused)
    return verdict


def _judge_accepted(verdict: Verdict, load: Load, jobs: dict[str, JobEnd]) -> None:
    """Every accepted job has come to the one end that it must have."""
    found = [jobs.get(accepted.job_id) for accepted in load.accepted]
    verdict.finished = sum(job is not None and job.status == _end_of(job, load) for job in found)
    verdict.lost = verdict.accepted - verdict.finished
    missing = [a.job_id for a in load.accepted if a.job_id not in jobs]
    verdict.complain("accepted job without a row", missing)
    other = [a.key for a in load.accepted if a.job_id in jobs and jobs[a.job_id].key != a.key]
    verdict.complain("answer about another job", other)
    wrong = [
        f"{job.job_id} {job.status} {job.error_code} after {job.attempts} attempts"
        for job in jobs.values()
        if job.status != _end_of(job, load)
    ]
    verdict.complain("unexpected end", wrong)


def _end_of(job: JobEnd, load: Load) -> str:
    if job.job_id in load.cancelled:
        return "cancelled"
    return "dead" if job.recipe.startswith(POISON_PREFIX) else "succeeded"


def _judge_results(verdict: Verdict, jobs: list[JobEnd], expected: Expected) -> None:
    doubled = [job.job_id for job in jobs if job.results > 1]
    verdict.doubled += len(doubled)
    verdict.complain("more than one result", doubled)
    astray = [job.job_id for job in jobs if (job.results == 1) != (job.status == "succeeded")]
    verdict.complain("result and state disagree", astray)
    other = [
        f"{job.job_id} (recipe {job.recipe})"
        for job in jobs
        if job.document is not None
        and not _equal(job, expected.get(made_of(job.key, job.document)))
    ]
    verdict.complain("other result than undisturbed", other)


def _equal(job: JobEnd, expected: dict[str, Any] | None) -> bool:
    if expected is None or job.document is None:
        return False
    fields, wanted = job.document["images"], expected["images"]
    return (
        job.prediction == job.document["prediction"] == expected["prediction"]
        and len(fields) == len(wanted)
        and all(
            abs(found["probabilities"][label] - probability) < _TOLERANCE
            for found, want in zip(fields, wanted, strict=True)
            for label, probability in want["probabilities"].items()
        )
    )


def _judge_audit(verdict: Verdict, jobs: list[JobEnd], events: list[tuple[Any, ...]]) -> None:
    """The trail of a job: submitted once, ended once as its state says, nothing after that."""
    trails: dict[str, list[str]] = {job.job_id: [] for job in jobs}
    for job_id, action in events:
        trails[job_id].append(action)
    wrong = []
    for job in jobs:
        actions = trails[job.job_id]
        ends = [action for action in actions if action in _ENDS]
        if len(ends) > 1:
            verdict.doubled += 1
        right = ends == [f"job.{job.status}"] and actions[-1:] == ends
        if not right or Counter(actions)["job.submitted"] != 1:
            wrong.append(f"{job.job_id} {job.status}: {' '.join(actions)}")
    verdict.complain("audit trail that disagrees", wrong)


def _judge_images(
    verdict: Verdict, world: World, jobs: list[JobEnd], images: list[tuple[Any, ...]]
) -> None:
    """Every image is noted with the hash of what was posted; a sample of objects is read."""
    posted: dict[str, list[str]] = {
        job.job_id: [picture.sha256 for picture in pictures_of(job.recipe)] for job in jobs
    }
    noted: dict[str, list[str]] = {job.job_id: [] for job in jobs}
    for job_id, _, _, sha256 in images:
        noted[job_id].append(sha256)
    wrong = [job_id for job_id, hashes in posted.items() if noted[job_id] != hashes]
    verdict.complain("images are not those posted", wrong)
    store, bucket = world.bucket()
    spoilt = []
    for _, _, key, sha256 in images[:: max(1, len(images) // _SAMPLE)]:
        try:
            data = bytes(store.get_object(bucket, key).data)
        except MinioException as error:
            spoilt.append(f"{key} {type(error).__name__}")
            continue
        if hashlib.sha256(data).hexdigest() != sha256:
            spoilt.append(key)
    verdict.complain("object missing or altered", spoilt)


def _judge_outbox(verdict: Verdict, world: World) -> None:
    if not world.wait(_OUTBOX_SECONDS, until=lambda: not _outbox(world)):
        verdict.complain("message left in the outbox", _outbox(world))


def _outbox(world: World) -> list[tuple[Any, ...]]:
    return world.query("SELECT id, job_id::text, send_after::text FROM outbox")


def _judge_orphans(verdict: Verdict, world: World, *, wait: bool) -> None:
    """No object without a job outlives the grace and a few sweeps."""
    longest = world.form.orphan_grace + _SWEEP_SECONDS
    orphans = _orphans(world)
    while wait and orphans and max(age for _, age in orphans) <= longest:
        world.wait(1)
        orphans = _orphans(world)
    old = [(name, age) for name, age in orphans if age > longest]
    verdict.complain("orphan object", [f"{name} {age:.0f} s" for name, age in old])
    world.blamed.update(name for name, _ in old)


def _orphans(world: World) -> list[tuple[str, float]]:
    """Objects of no job, with their age in seconds; not those that an earlier fault answers for."""
    store, bucket = world.bucket()
    known = {row[0] for row in world.query("SELECT id::text FROM jobs")}
    orphans = []
    for found in store.list_objects(bucket, prefix="jobs/", recursive=True):
        name = str(found.object_name)
        if name in world.blamed or found.last_modified is None:
            continue
        if name.split("/")[1] not in known:
            orphans.append((name, (utc_now() - found.last_modified).total_seconds()))
    return orphans


def job_states(world: World, ids: list[str]) -> Counter[str]:
    """How many of these jobs are in which state."""
    rows = world.query(
        "SELECT status, count(*) FROM jobs WHERE id = ANY(%s::uuid[]) GROUP BY status",
        [str(uuid.UUID(job_id)) for job_id in ids],
    )
    return Counter(dict(rows))
