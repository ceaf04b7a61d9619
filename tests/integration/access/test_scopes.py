"""Every route by every scope: what a key lacks a scope for it cannot do."""

from __future__ import annotations

import pytest

from shared.auth.keys import Scope
from shared.auth.tenants import DEFAULT_TENANT
from tests.integration.access.scene import Belongings, Caller, contents, settled
from tests.integration.access.table import NEEDED, OPEN, SIGNED, address, sending, served

READS_AND_REVIEWS = {Scope.READ, Scope.REVIEW}
GUARDED = {route: needed for route, needed in NEEDED.items() if needed not in (OPEN, SIGNED)}


def test_each_route_has_its_line_in_the_table(application) -> None:
    assert set(NEEDED) == served(application)


@pytest.mark.parametrize("held", Scope)
def test_a_key_does_what_its_scope_allows_and_changes_nothing_else(
    application, sessions, storage, held: Scope
) -> None:
    has = settled(sessions, storage, DEFAULT_TENANT)
    caller = Caller(application, sessions, [held])
    allowed = {route for route, needed in GUARDED.items() if needed == {held}}
    before = contents(sessions)
    refused = {
        route: status(application, caller, route, has) for route in sorted(set(GUARDED) - allowed)
    }
    assert refused == dict.fromkeys(refused, 403)
    assert contents(sessions) == before
    for route in sorted(allowed, key=_changes_last):
        assert status(application, caller, route, has) not in (401, 403), route


def test_who_reads_and_reviews_opens_the_pages_of_reviewing(application, sessions, storage) -> None:
    has = settled(sessions, storage, DEFAULT_TENANT)
    caller = Caller(application, sessions, READS_AND_REVIEWS)
    pages = {route for route, needed in GUARDED.items() if needed == READS_AND_REVIEWS}
    for route in sorted(pages, key=_changes_last):
        assert status(application, caller, route, has) in (200, 303), route


def status(application, caller: Caller, route: str, has: Belongings) -> int:
    path = address(application, route, has)
    answer = caller.open(route.split(" ", maxsplit=1)[0], path, **sending(route))
    assert answer.status_code < 500, (route, answer.text[:500])
    return int(answer.status_code)


def _changes_last(route: str) -> tuple[bool, str]:
    return not route.startswith("GET"), route
