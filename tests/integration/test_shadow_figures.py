"""How a challenger compares with the results that others gave."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import pytest
from sqlalchemy import select

from shared.auth.tenants import DEFAULT_TENANT
from shared.db.models import ResultRow
from shared.db.session import Sessions
from shared.registry.shadow import Opinion, Reviewed, agreement, disagreements
from shared.registry.shadow_tasks import keep, pending
from shared.reviews.record import Decision, ReviewLabel, record_review
from shared.storage.s3 import S3Store
from tests.integration.shadows import CHALLENGER, challenge, finished, said

Answer = tuple[str, str]


@dataclass
class Compared:
    """Jobs that the challenger has looked at."""

    sessions: Sessions
    storage: S3Store
    key_id: str

    def add(
        self,
        result: Answer,
        other: Answer | str,
        review: str | None = None,
        confidence: float = 0.9,
    ) -> uuid.UUID:
        """One more; `other` is the challenger's answer, or the code of its error."""
        job_id = finished(self.sessions, self.storage, self.key_id, *result)
        (task,) = pending(self.sessions, limit=10)
        if isinstance(other, str):
            keep(self.sessions, task, other)
        else:
            answer = said(job_id, *other)
            keep(self.sessions, task, answer.model_copy(update={"confidence": confidence}))
        if review is not None:
            self.review(job_id, result[0], review)
        return job_id

    def review(self, job_id: uuid.UUID, prediction: str, label: str) -> None:
        decision = Decision.CONFIRM if label == prediction else Decision.OVERRIDE
        found = ReviewLabel(label)
        record_review(
            self.sessions,
            job_id,
            decision,
            found,
            comment=None,
            key_id=self.key_id,
            tenant=DEFAULT_TENANT,
        )


@pytest.fixture
def compared(sessions: Sessions, storage: S3Store, key_id: str) -> Compared:
    challenge(sessions)
    return Compared(sessions, storage, key_id)


def test_nothing_was_looked_at(sessions: Sessions) -> None:
    none = agreement(sessions, *CHALLENGER)
    assert (none.model, none.jobs, none.errors, none.compared) == ("cnn_custom@1", 0, 0, 0)
    assert (none.result_confidence, none.challenger_confidence) == (None, None)
    assert (none.first_at, none.last_at) == (None, None)
    assert none.reviewed == Reviewed(0, 0, 0)
    assert none.confusion["Early"]["Benign"] == 0


def test_every_kind_of_difference_is_counted(sessions: Sessions, compared: Compared) -> None:
    early, benign = ("Early", "urgent"), ("Benign", "routine")
    first = compared.add(early, early, confidence=0.8)
    compared.add(early, early, confidence=0.6)
    compared.add(early, ("Pre", "urgent"), confidence=0.7)
    compared.add(early, ("Early", "priority"), confidence=0.5)
    compared.add(early, benign, confidence=0.4)
    compared.add(("Benign", "review"), ("Pro", "urgent"), confidence=0.6)
    last = compared.add(("Pro", "review"), "corrupt_image")
    found = agreement(sessions, *CHALLENGER)
    assert (found.jobs, found.errors, found.compared) == (7, 1, 6)
    assert (found.same_prediction, found.same_urgency, found.agreeing) == (3, 3, 2)
    assert (found.lowered, found.raised) == (2, 1)
    assert (found.to_benign, found.to_malignant) == (1, 1)
    counts = {
        (given, other): jobs
        for given, row in found.confusion.items()
        for other, jobs in row.items()
        if jobs
    }
    assert counts == {
        ("Early", "Early"): 3,
        ("Early", "Pre"): 1,
        ("Early", "Benign"): 1,
        ("Benign", "Pro"): 1,
    }
    assert found.result_confidence == pytest.approx(0.97)
    assert found.challenger_confidence == pytest.approx(0.6)
    with sessions() as session:
        times = dict(session.execute(select(ResultRow.job_id, ResultRow.created_at)).all())
    assert (found.first_at, found.last_at) == (times[first], times[last])


def test_reviewers_say_who_was_right(sessions: Sessions, compared: Compared) -> None:
    early, pre, benign = ("Early", "urgent"), ("Pre", "urgent"), ("Benign", "routine")
    compared.add(early, early, "Early")
    compared.add(early, pre, "Early")
    compared.add(early, pre, "Pre")
    compared.add(benign, pre, "Pre")
    compared.add(benign, benign, "other")
    compared.add(benign, benign)
    compared.add(benign, "corrupt_image", "Benign")
    assert agreement(sessions, *CHALLENGER).reviewed == Reviewed(
        jobs=5, result_right=2, challenger_right=3
    )


def test_the_newest_review_of_a_job_counts(sessions: Sessions, compared: Compared) -> None:
    job_id = compared.add(("Early", "urgent"), ("Pre", "urgent"), "Pre")
    compared.review(job_id, "Early", "Early")
    assert agreement(sessions, *CHALLENGER).reviewed == Reviewed(1, 1, 0)
    assert disagreements(sessions, *CHALLENGER, tenant=DEFAULT_TENANT, limit=1)[0].review == "Early"


def test_disagreements_are_listed_newest_first_a_page_at_a_time(
    sessions: Sessions, compared: Compared
) -> None:
    early, benign = ("Early", "urgent"), ("Benign", "routine")
    jobs = [compared.add(early, benign, confidence=0.1 * n) for n in range(1, 6)]
    compared.add(early, early)
    compared.add(early, "corrupt_image")
    first = disagreements(sessions, *CHALLENGER, tenant=DEFAULT_TENANT, limit=2)
    assert [one.job_id for one in first] == jobs[:2:-1]
    second = disagreements(
        sessions, *CHALLENGER, tenant=DEFAULT_TENANT, limit=10, before=first[-1].job_id
    )
    assert [one.job_id for one in second] == jobs[2::-1]
    assert first[0].result == Opinion("student@2", "Early", 0.97, "urgent")
    assert first[0].challenger == Opinion("cnn_custom@1", "Benign", 0.5, "routine")
    assert first[0].review is None
    with sessions() as session:
        assert first[0].at == session.get(ResultRow, jobs[-1]).created_at


def test_each_version_has_figures_of_its_own(sessions: Sessions, compared: Compared) -> None:
    compared.add(("Early", "urgent"), ("Benign", "routine"))
    for other in [("cnn_custom", 2), ("student", 1)]:
        assert agreement(sessions, *other).jobs == 0
        assert disagreements(sessions, *other, tenant=DEFAULT_TENANT, limit=10) == []
