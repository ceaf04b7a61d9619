"""Whose explanation comes first, who is kept out, and what is made again."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import text

from shared.auth.tenants import DEFAULT_TENANT
from shared.errors import CorruptImageError, UnknownModelError
from shared.explanations.claim import complete, give_up
from shared.explanations.method import Method
from shared.explanations.queue import read
from shared.explanations.states import ExplanationStatus, NoPredictionError
from tests.integration.explanations.asking import (
    DOCUMENT,
    LIMIT,
    SHA,
    a_subject,
    ask,
    claimed,
    requests_recorded,
    set_all,
    taken,
    wanted,
)


def test_who_waits_comes_first_then_what_was_asked_for_then_what_was_not(
    sessions, storage, key_id
) -> None:
    automatic, opened, *page, asked = (a_subject(sessions, storage, key_id) for _ in range(6))
    for subject in (automatic, opened):
        ask(sessions, subject)
    set_all(sessions, "asked = false")
    for subject in (asked, *page):
        ask(sessions, subject)
    for subject in page:  # as a page that shows many fields at once
        ask(sessions, subject, waits=True)
    assert ask(sessions, opened, waits=True).asked is False, "it was to be made unasked"
    order = [claimed(sessions).subject for _ in range(6)]
    assert order == [opened, *reversed(page), asked, automatic]


def test_who_asks_for_what_is_made_unasked_gets_it_before_the_others(
    sessions, storage, key_id
) -> None:
    first, second = (a_subject(sessions, storage, key_id) for _ in range(2))
    for subject in (first, second):
        ask(sessions, subject)
    set_all(sessions, "asked = false")
    ask(sessions, second)
    assert claimed(sessions).subject == second


def test_only_whoever_waits_himself_renews_the_wait(sessions, subject) -> None:
    ask(sessions, subject, waits=True)
    waited = wanted(sessions)
    ask(sessions, subject)
    assert wanted(sessions) == waited
    ask(sessions, subject, waits=True)
    assert wanted(sessions) > waited


def test_a_full_queue_takes_what_is_known_and_nothing_new(sessions, storage, key_id) -> None:
    first, second, third = (a_subject(sessions, storage, key_id) for _ in range(3))
    ask(sessions, first)
    set_all(sessions, "asked = false")
    assert ask(sessions, second, most=1), "what nobody asked for keeps nobody out"
    assert ask(sessions, third, most=1) is None
    assert ask(sessions, replace(third, method=Method.LIME), most=1), "a queue a method"
    assert ask(sessions, first, most=1), "it is made in any case"
    assert complete(sessions, claimed(sessions), DOCUMENT, SHA)
    assert complete(sessions, claimed(sessions), DOCUMENT, SHA)
    assert ask(sessions, third, most=1)


def test_a_failure_is_tried_again_a_while_later(sessions, subject) -> None:
    ask(sessions, subject)
    give_up(sessions, taken(sessions, subject), UnknownModelError("m@2"), max_attempts=LIMIT)
    assert ask(sessions, subject).status is ExplanationStatus.FAILED
    set_all(sessions, "failures = 1, finished_at = now() - interval '61 s'")
    assert ask(sessions, subject, most=0) is None, "the queue is full"
    again = ask(sessions, subject)
    assert (again.status, again.error_code) == (ExplanationStatus.QUEUED, None)
    held = taken(sessions, subject)
    assert (held.attempt, held.failures) == (2, 0)
    assert complete(sessions, held, DOCUMENT, SHA)
    assert requests_recorded(sessions) == 2


def test_a_failure_from_before_the_clock_was_set_back_is_tried_again(sessions, subject) -> None:
    ask(sessions, subject)
    give_up(sessions, taken(sessions, subject), CorruptImageError(), max_attempts=LIMIT)
    set_all(sessions, "finished_at = now() + interval '1 day'")
    assert ask(sessions, subject).status is ExplanationStatus.QUEUED


def test_a_lost_picture_is_made_again_once_for_all_who_miss_it(sessions, subject) -> None:
    ask(sessions, subject)
    assert complete(sessions, taken(sessions, subject), DOCUMENT, SHA)
    missed = read(sessions, subject, tenant=DEFAULT_TENANT)
    again = ask(sessions, subject, lost=missed)
    assert (again.status, again.document) == (ExplanationStatus.QUEUED, None)
    assert complete(sessions, taken(sessions, subject), DOCUMENT, SHA)
    assert ask(sessions, subject, lost=missed).status is ExplanationStatus.SUCCEEDED
    assert requests_recorded(sessions) == 2


def test_a_result_that_names_no_class_of_the_image_is_claimed_and_fails(sessions, subject) -> None:
    ask(sessions, subject)
    with sessions.begin() as session:
        session.execute(text("UPDATE results SET document = '{}'"))
    held = taken(sessions, subject)
    with pytest.raises(NoPredictionError) as error:
        _ = held.label
    give_up(sessions, held, error.value, max_attempts=LIMIT)
    assert read(sessions, subject, tenant=DEFAULT_TENANT).error_code == "no_prediction"
