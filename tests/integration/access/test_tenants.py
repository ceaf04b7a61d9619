"""Two hospitals share a service: what the one has, the other cannot tell from what is not there."""

from __future__ import annotations

import hashlib
import io
import uuid

import pytest

from shared.auth.keys import Scope
from shared.auth.tenants import DEFAULT_TENANT
from shared.jobs.states import Status
from tests.factories import smear_bytes
from tests.integration.access.scene import (
    CANARY,
    EVERYTHING_OF_CASES,
    HOST,
    INSTANCE,
    NOBODY,
    NORTH,
    PICTURE,
    PICTURE_SHA,
    SERIES,
    SOUTH,
    STUDY,
    Belongings,
    Caller,
    contents,
    settled,
)
from tests.integration.access.table import NEEDED, address, sending

OF_A_CASE = ("<uuid:job_id>", "<uuid:order_id>", "<uuid:event_id>", "<uid>")
NO_SUCH = Belongings(NOBODY, NOBODY, NOBODY, NOBODY, NOBODY, "0" * 12)
READS = sorted(route for route in NEEDED if route.startswith("GET"))
CHANGES = sorted(
    route
    for route in NEEDED
    if not route.startswith("GET") and any(name in route for name in OF_A_CASE)
)
OF_THE_SERVICE = ("GET /v1/audit", "GET /console/audit", "GET /console/keys")
"""What an administrator sees of every tenant: ids of keys and jobs, and names of keys."""

IMAGE = smear_bytes(7)


@pytest.fixture
def north(sessions, storage) -> Belongings:
    return settled(sessions, storage)


@pytest.fixture
def south(application, sessions, north) -> Caller:
    """Whatever a key of another tenant may be allowed."""
    return Caller(application, sessions, EVERYTHING_OF_CASES, tenant=SOUTH)


@pytest.fixture
def operator(application, sessions, north) -> Caller:
    return Caller(application, sessions, list(Scope))


def traces(body: bytes, has: Belongings, *, ids: bool = True) -> list[bytes]:
    """What of a tenant's is in an answer."""
    texts = [HOST, STUDY, SERIES, INSTANCE, PICTURE_SHA, hashlib.sha256(IMAGE).hexdigest()]
    found = [CANARY.encode(), *(text.encode() for text in texts), IMAGE[64:128], PICTURE[64:128]]
    if ids:
        named = [*map(str, has.ids), *(one.hex for one in has.ids), str(has.order.int), has.key]
        found += [name.encode() for name in named]
    return [one for one in found if one in body]


def answer_of(caller: Caller, application, route: str, has: Belongings, job_id=None, **sent):
    path = address(application, route, has, job_id)
    answer = caller.open(route.split(" ", maxsplit=1)[0], path, **sent)
    assert answer.status_code < 500, (route, answer.text[:500])
    return answer


def without_ids(answer, has: Belongings) -> bytes:
    """An answer with the ids that were asked for taken out, and what is new in each answer."""
    text = answer.text
    for known, nobody in zip((*has.ids, has.key), (*NO_SUCH.ids, NO_SUCH.key), strict=True):
        text = text.replace(str(known), str(nobody))
    text = text.replace(str(has.order.int), str(NOBODY.int))
    return text.encode()


def test_no_answer_to_another_tenant_has_anything_of_a_case(application, north, south) -> None:
    for route in READS:
        ids_of_jobs = [None]
        if "<uuid:job_id>" in route:
            ids_of_jobs = [north.queued, north.done, north.dead]
        for job_id in ids_of_jobs:
            answer = answer_of(south, application, route, north, job_id)
            names_one = any(name in route for name in OF_A_CASE)
            found = traces(answer.data, north, ids=not names_one and "<key_id>" not in route)
            assert found == [], (route, answer.status_code)
            if names_one:
                assert answer.status_code == 404, route


def test_what_is_anothers_is_told_as_what_is_not_there(application, north, south) -> None:
    routes = [route for route in READS if any(name in route for name in OF_A_CASE)]
    assert len(routes) > 15
    for route in routes:
        if route.startswith("GET /console"):
            continue
        theirs = answer_of(south, application, route, north)
        nobodys = answer_of(south, application, route, NO_SUCH)
        assert (theirs.status_code, nobodys.status_code) == (404, 404), route
        assert without_ids(theirs, north) == nobodys.data, route


def test_an_operator_sees_no_case_of_a_tenant_either(application, north, operator) -> None:
    for route in READS:
        answer = answer_of(operator, application, route, north)
        names_one = any(name in route for name in (*OF_A_CASE, "<key_id>"))
        is_of_service = route in OF_THE_SERVICE or "<key_id>" in route
        body = answer.data
        if is_of_service:
            body = body.replace(f"{CANARY}-reader".encode(), b"")
        found = traces(body, north, ids=not names_one and not is_of_service)
        assert found == [], (route, answer.status_code)
        if any(name in route for name in OF_A_CASE):
            assert answer.status_code == 404, route


@pytest.mark.parametrize("who", ["south", "operator"])
def test_nothing_of_a_case_is_changed_by_another_tenant(
    application, sessions, north, who: str, request
) -> None:
    caller = request.getfixturevalue(who)
    before = contents(sessions)
    for route in CHANGES:
        for job_id in (north.queued, north.done, north.dead):
            theirs = answer_of(caller, application, route, north, job_id, **sending(route))
            nobodys = answer_of(caller, application, route, NO_SUCH, **sending(route))
            assert theirs.status_code == nobodys.status_code, route
            assert theirs.status_code in (400, 403, 404, 415) or "pass" in route, route
            if "<uuid:job_id>" not in route:
                break
    assert contents(sessions) == before


def test_a_tenant_has_the_use_of_all_that_is_its_own(application, sessions, north) -> None:
    own = Caller(application, sessions, EVERYTHING_OF_CASES, tenant=NORTH)
    listed = {job["id"] for job in own.open("GET", "/v1/jobs").json["jobs"]}
    assert listed == {str(north.queued), str(north.done), str(north.dead)}
    assert [one["id"] for one in own.open("GET", "/v1/orders").json["orders"]] == [str(north.order)]
    for page in ("/console/worklist", "/console/queues", "/console/review"):
        assert CANARY in own.open("GET", page).text or str(north.dead) in own.open("GET", page).text
    assert own.open("DELETE", f"/v1/jobs/{north.queued}").json["status"] == Status.CANCELLED
    shadow = "/v1/models/cnn_custom/versions/1/shadow"
    differing = own.open("GET", f"{shadow}/disagreements").json["disagreements"]
    assert [one["job_id"] for one in differing] == [str(north.done)]
    assert own.open("GET", shadow).json["jobs"] == 1, "figures are of all tenants"
    for path in (f"/v1/jobs/{north.done}", f"/v1/jobs/{north.done}/images/0"):
        assert traces(own.open("GET", path).data, north) != [], "what the other tests look for"


def test_two_tenants_count_alike(application, sessions, north, south) -> None:
    number = f"{CANARY}-9"
    placed = south.open("POST", "/v1/orders", json={"accession_number": number, "priority": "stat"})
    assert placed.status_code == 201
    form = {"image": (io.BytesIO(smear_bytes(3)), "field.png"), "accession_number": number}
    posted = south.open("POST", "/v1/jobs", data=form)
    assert posted.status_code == 202
    job = south.open("GET", f"/v1/jobs/{posted.json['id']}").json
    assert (job["priority"], job["specimen_id"]) == ("stat", None), "of its own tenant's order"
    own = Caller(application, sessions, EVERYTHING_OF_CASES, tenant=NORTH)
    theirs = own.open("GET", f"/v1/orders/{north.order}").json
    assert (theirs["job_id"], theirs["priority"]) == (None, "routine")
    workitems = own.open("GET", f"/dicomweb/workitems?00080050={number}")
    assert posted.json["id"] not in workitems.text


def test_an_idempotency_key_is_of_the_key_that_sends_it(application, sessions, south) -> None:
    north = Caller(application, sessions, EVERYTHING_OF_CASES, tenant=NORTH)
    ids = set()
    for caller in (north, south, north):
        form = {"image": (io.BytesIO(smear_bytes(3)), "field.png")}
        answer = caller.open("POST", "/v1/jobs", data=form, headers={"Idempotency-Key": "same"})
        ids.add((caller.key.tenant, uuid.UUID(answer.json["id"])))
    assert len(ids) == 2


def test_a_second_reader_of_another_tenant_is_offered_nothing(application, north, south) -> None:
    assert str(north.done) not in south.open("GET", "/console/review").text
    own_waiting = south.open("GET", "/console/review/waiting").text
    assert ">1<" not in own_waiting


def test_the_tenant_of_old_keys_and_jobs_is_default(application, sessions, storage) -> None:
    has = settled(sessions, storage, DEFAULT_TENANT)
    caller = Caller(application, sessions, [Scope.READ])
    assert caller.key.tenant == DEFAULT_TENANT
    assert len(caller.open("GET", "/v1/jobs").json["jobs"]) == 3
    assert caller.open("GET", f"/v1/jobs/{has.done}").status_code == 200
