"""The enums of the domains, the state machine and the schema say the same."""

from shared.auth.keys import Scope
from shared.db import models
from shared.jobs.states import SOURCES, Priority, Status
from shared.monitoring.drift import Level
from shared.queue.names import QUEUES
from shared.reviews.record import Decision, ReviewLabel
from shared.triage.labels import Label
from shared.triage.policy import Urgency


def test_enums_are_those_of_the_schema() -> None:
    assert tuple(Status) == models.STATUSES
    assert tuple(Priority) == models.PRIORITIES == QUEUES
    assert tuple(Urgency) == models.URGENCIES
    assert tuple(Decision) == models.DECISIONS
    assert tuple(ReviewLabel) == models.REVIEW_LABELS == (*Label, ReviewLabel.OTHER)
    assert tuple(Level) == models.LEVELS
    assert tuple(Scope) == models.SCOPES


def test_a_final_state_is_left_only_by_requeueing_what_failed() -> None:
    assert set(SOURCES) == set(Status)
    left = {
        (source, to) for to, sources in SOURCES.items() for source in sources if source.is_final
    }
    assert left == {(Status.FAILED, Status.QUEUED), (Status.DEAD, Status.QUEUED)}


def test_a_result_comes_only_from_a_running_job() -> None:
    assert SOURCES[Status.SUCCEEDED] == {Status.RUNNING}
