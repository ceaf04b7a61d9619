"""Orders over HTTP, what they give to jobs, and how results repeat them."""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable, Iterator

import hl7
import pytest
from fhir.resources.R4B.bundle import Bundle
from flask.testing import FlaskClient
from sqlalchemy.orm import sessionmaker

from services.api.app import create_app
from shared.auth.keys import Scope, create_key
from shared.auth.tenants import DEFAULT_TENANT
from shared.db.session import Sessions
from shared.interop.forms import MEDIA_TYPES, ResultForm
from shared.jobs.claim import claim as take
from shared.jobs.complete import complete
from shared.orders.claim import claim
from shared.orders.fill import order_of
from tests import dicom
from tests.factories import smear_bytes
from tests.integration import pushes
from tests.integration.jobs import a_result
from tests.integration.posting import authorised, post
from tests.integration.webhooks.events import PATIENT
from tests.mllp_receiver import MllpReceiver
from tests.openapi import document

ORDER = {
    "accession_number": "A-1",
    "priority": "stat",
    "specimen_id": "S-1",
    "patient_ref": "pn-1",
    "study_uid": "1.2.3",
    "procedure_code": "BSM",
    "procedure_system": "99LAB",
    "placer": "LIS|LAB",
    "placer_number": "P-1",
    "filler_number": "F-1",
    "scheduled_at": "2026-01-01T12:00:00Z",
}
GIVEN = ("priority", "specimen_id", "patient_ref")

Order = Callable[..., dict]


@pytest.fixture
def order(client: FlaskClient) -> Order:
    """Places an order with some fields changed; gives the answer's body."""
    return lambda **changes: client.post("/v1/orders", json={**ORDER, **changes}).json


def given(client: FlaskClient, answer) -> tuple[str | None, ...]:
    """Priority, specimen and patient of the job that was accepted."""
    assert answer.status_code == 202, answer.json
    job = client.get(f"/v1/jobs/{answer.json['id']}").json
    return tuple(job[name] for name in GIVEN)


def with_result(sessions: Sessions, answer) -> str:
    """Where the result is of the job that was accepted, which has one from now on."""
    job_id = uuid.UUID(answer.json["id"])
    held = take(sessions, [job_id], worker="w", lease_seconds=60)[job_id]
    assert complete(sessions, [(held, a_result(job_id))])
    return f"/v1/jobs/{job_id}/result"


def test_an_order_is_placed_once_and_then_changed(client) -> None:
    placed = client.post("/v1/orders", json=ORDER)
    assert placed.status_code == 201
    assert {name: placed.json[name] for name in ORDER} == ORDER
    assert (placed.json["state"], placed.json["job_id"]) == ("expected", None)
    assert client.get(placed.headers["Location"]).json == placed.json
    again = client.post("/v1/orders", json=ORDER)
    assert (again.status_code, again.json) == (200, placed.json)
    changed = client.post("/v1/orders", json={"accession_number": "A-1"})
    assert (changed.status_code, changed.json["id"]) == (200, placed.json["id"])
    assert (changed.json["priority"], changed.json["specimen_id"]) == ("routine", None)


def test_an_order_is_cancelled_and_placed_again(client, order) -> None:
    place = f"/v1/orders/{order()['id']}"
    for _ in range(2):
        answer = client.delete(place)
        assert (answer.status_code, answer.json["state"]) == (200, "cancelled")
    assert order()["state"] == "expected"


@pytest.mark.parametrize("when", ["20260301", "1767225600", 1767225600, "2026-03-01", True])
def test_a_number_is_no_time(client, when) -> None:
    answer = client.post("/v1/orders", json={**ORDER, "scheduled_at": when})
    assert (answer.status_code, answer.json["code"]) == (422, "validation_failed")


def test_a_claimed_order_is_refused(client, order, sessions, key_id) -> None:
    order_id = order()["id"]
    claim(sessions, uuid.UUID(order_id), "2.25.1", key_id=key_id, tenant=DEFAULT_TENANT)
    other = {**ORDER, "specimen_id": "S-2"}
    refusals = (client.post("/v1/orders", json=other), client.delete(f"/v1/orders/{order_id}"))
    for answer in refusals:
        assert (answer.status_code, answer.json["code"]) == (409, "order_closed")
    read = client.get(f"/v1/orders/{order_id}")
    assert (read.json["state"], read.json["performer"]) == ("claimed", key_id)
    assert b"2.25.1" not in read.data, "who reads an order could end it"


@pytest.mark.parametrize(
    "change",
    [
        {"accession_number": ""},
        {"accession_number": "A\u0000"},
        {"accession_number": "A" * 129},
        {"specimen_id": "S\n1"},
        {"study_uid": "1..2"},
        {"priority": "soon"},
        {"scheduled_at": "2026-01-01T12:00:00"},
        {"scheduled_at": "9999-12-31T23:59:59-12:00"},
        {"surname": "Doe"},
    ],
)
def test_a_wrong_field_is_a_problem_document(client, change) -> None:
    answer = client.post("/v1/orders", json={**ORDER, **change})
    assert (answer.status_code, answer.json["code"]) == (422, "validation_failed")
    assert client.get("/v1/orders").json["orders"] == []


def test_an_order_says_nothing_in_its_query(client) -> None:
    answer = client.post("/v1/orders?priority=stat", json={"accession_number": "ACC-4712"})
    assert (answer.status_code, answer.json["code"]) == (422, "validation_failed")
    assert answer.json["detail"] == "priority: fields belong in the body, not in the query."
    assert client.get("/v1/orders").json["orders"] == []


def test_what_is_no_json_and_what_is_no_order_is_said(client) -> None:
    torn = client.post("/v1/orders", data=b"{", content_type="application/json")
    assert torn.status_code == 400
    large = client.post("/v1/orders", json={**ORDER, "specimen_id": "S" * 100_000})
    assert (large.status_code, large.json["code"]) == (413, "payload_too_large")
    for answer in (client.get(f"/v1/orders/{uuid.uuid4()}"), client.get("/v1/orders/x")):
        assert answer.status_code == 404
    assert client.get("/v1/orders?cursor=next").status_code == 422
    assert client.get("/v1/orders?limit=0").status_code == 422


def test_orders_are_listed_by_filter_and_page(client, order) -> None:
    for number in range(5):
        order(accession_number=f"A-{number}", priority="stat" if number % 2 else "routine")
    listed, query = [], "limit=2"
    while query:
        page = client.get(f"/v1/orders?{query}").json
        listed += [one["accession_number"] for one in page["orders"]]
        query = page["next_cursor"] and f"limit=2&cursor={page['next_cursor']}"
    assert listed == ["A-4", "A-3", "A-2", "A-1", "A-0"]
    assert len(client.get("/v1/orders?priority=stat").json["orders"]) == 2
    assert len(client.get("/v1/orders?scheduled_from=2026-01-01T12:00:01Z").json["orders"]) == 0


def test_each_call_needs_its_scope(settings, sessions, storage, order) -> None:
    app, order_id = create_app(settings), order()["id"]

    def status(scope: Scope, method: str, path: str = "", **body: object) -> int:
        _, key = create_key(sessions, "one", [scope])
        headers = {"Authorization": f"Bearer {key}"}
        answer = app.test_client().open(f"/v1/orders{path}", method=method, headers=headers, **body)
        return answer.status_code

    for method, path in (("GET", ""), ("GET", f"/{order_id}")):
        assert (status(Scope.READ, method, path), status(Scope.SUBMIT, method, path)) == (200, 403)
    assert status(Scope.READ, "POST", json=ORDER) == status(Scope.READ, "DELETE", "/" + order_id)
    assert status(Scope.READ, "POST", json=ORDER) == 403
    assert status(Scope.SUBMIT, "POST", json=ORDER) == 200
    assert status(Scope.SUBMIT, "DELETE", f"/{order_id}") == 200


def test_a_job_takes_what_it_does_not_say_from_its_order(client, order) -> None:
    order()
    assert given(client, post(client, smear_bytes(), accession_number="A-1")) == (
        "stat",
        "S-1",
        "pn-1",
    )
    assert given(client, post(client, smear_bytes(), accession_number="A-2")) == (
        "routine",
        None,
        None,
    )


def test_what_the_client_says_comes_before_the_order(client, order) -> None:
    order()
    own = {"priority": "routine", "specimen_id": "S-9", "patient_ref": "pn-9"}
    answer = post(client, smear_bytes(), accession_number="A-1", **own)
    assert given(client, answer) == ("routine", "S-9", "pn-9")


def test_an_order_names_its_job_and_goes_on_being_what_it_was(client, order) -> None:
    order_id = order()["id"]
    job = post(client, smear_bytes(), accession_number="A-1").json
    read = client.get(f"/v1/orders/{order_id}").json
    assert (read["state"], read["job_id"], read["job_status"]) == ("expected", job["id"], "queued")
    assert read["links"]["job"] == job["links"]["self"]


def test_images_of_a_cancelled_order_are_taken_all_the_same(client, order) -> None:
    client.delete(f"/v1/orders/{order()['id']}")
    answer = post(client, smear_bytes(), accession_number="A-1")
    assert given(client, answer) == ("stat", "S-1", "pn-1")


def test_a_repeated_request_is_known_whatever_has_become_of_its_order(client, order) -> None:
    def send():
        headers = {"Idempotency-Key": "once"}
        return post(client, smear_bytes(), accession_number="A-1", headers=headers)

    first = send()
    for changes in ({}, {"specimen_id": "S-2", "priority": "urgent"}):
        order(**changes)
        again = send()
        assert (again.status_code, again.json["id"]) == (200, first.json["id"])


def test_a_full_queue_does_not_keep_a_job_out_whose_order_is_urgent(
    settings, sessions, storage
) -> None:
    full = settings.model_copy(update={"max_queued_jobs": 1})
    client = authorised(create_app(full), sessions)
    client.post("/v1/orders", json=ORDER)
    assert post(client, smear_bytes()).status_code == 202
    assert post(client, smear_bytes()).status_code == 503
    assert post(client, smear_bytes(), accession_number="A-1").status_code == 202


def stow(client: FlaskClient, data: bytes):
    body = b"--B\r\nContent-Type: application/dicom\r\n\r\n%s\r\n--B--\r\n" % data
    kind = 'multipart/related; type="application/dicom"; boundary=B'
    return client.post("/dicomweb/studies", data=body, content_type=kind)


def as_file(client: FlaskClient, data: bytes):
    return client.post("/v1/jobs", data={"image": (io.BytesIO(data), "a.dcm")})


@pytest.mark.parametrize("send", [stow, as_file])
def test_the_order_that_a_header_names_gives_what_the_header_does_not_say(
    client, order, send
) -> None:
    order(accession_number="ACC-1")
    assert send(client, dicom.dicom_bytes()).status_code < 300
    (job,) = client.get("/v1/jobs?accession_number=ACC-1").json["jobs"]
    assert [job[name] for name in GIVEN] == ["stat", "SLIDE-1", "pn-1"]


def test_the_same_instances_are_the_same_job_whatever_has_become_of_their_order(
    client, order
) -> None:
    data = dicom.dicom_bytes()
    for changes in ({}, {"priority": "urgent", "patient_ref": "pn-2"}):
        order(accession_number="ACC-1", **changes)
        assert stow(client, data).status_code == 200
    assert len(client.get("/v1/jobs?accession_number=ACC-1").json["jobs"]) == 1


def test_without_an_accession_number_the_database_is_not_asked_for_an_order() -> None:
    leads_nowhere = sessionmaker()
    assert order_of(leads_nowhere, None, tenant=DEFAULT_TENANT) is None


def test_a_message_repeats_the_numbers_of_the_order(client, order, sessions) -> None:
    order()
    result = with_result(sessions, post(client, smear_bytes(), accession_number="A-1"))
    answer = client.get(result, headers={"Accept": MEDIA_TYPES[ResultForm.HL7]})
    message = hl7.parse(answer.data)
    header = message.segment("MSH")
    assert (str(header[5]), str(header[6])) == ("LIS", "LAB")
    for name in ("ORC", "OBR"):
        segment = message.segment(name)
        assert (str(segment[2]), str(segment[3])) == ("P-1", "F-1")
    examined = [str(part) for part in message.segment("OBR")[4][0]]
    assert (examined[0], examined[2:4]) == ("BSM", ["99LAB", "5909-7"])


def test_of_an_order_without_numbers_a_message_has_those_of_the_job(client, sessions) -> None:
    client.post("/v1/orders", json={"accession_number": "A-1"})
    result = with_result(sessions, post(client, smear_bytes(), accession_number="A-1"))
    message = hl7.parse(client.get(result, headers={"Accept": MEDIA_TYPES[ResultForm.HL7]}).data)
    assert str(message.segment("MSH")[5]) == ""
    job_id = result.split("/")[3]
    segment = message.segment("ORC")
    assert (str(segment[2]), str(segment[3])) == ("A-1", f"{job_id}^HEMOTRIAGE")
    examined = [str(part) for part in message.segment("OBR")[4][0]]
    assert (examined[0], examined[3]) == ("5909-7", "smear-triage")


def test_a_bundle_repeats_the_numbers_of_the_order(client, order, sessions) -> None:
    order()
    result = with_result(sessions, post(client, smear_bytes(), accession_number="A-1"))
    answer = client.get(result, headers={"Accept": MEDIA_TYPES[ResultForm.FHIR]})
    Bundle.model_validate(answer.json)
    report = answer.json["entry"][0]["resource"]
    numbers = [one["identifier"] for one in report["basedOn"]] + report["identifier"][1:]
    kinds = {one["type"]["coding"][0]["code"]: one["value"] for one in numbers}
    assert kinds == {"ACSN": "A-1", "PLAC": "P-1", "FILL": "F-1"}
    assert {one["type"] for one in report["basedOn"]} == {"ServiceRequest"}


@pytest.fixture
def pushed(settings, sessions, storage, key_id) -> Iterator[Callable[[], str]]:
    """Pushes the result of a new job; gives the message that the LIS got."""
    lis = MllpReceiver()

    def push() -> str:
        pushes.succeed(sessions, storage, key_id, lis.url)
        assert pushes.attempt(sessions, settings, lis.url).delivered_at is not None
        return lis.messages[-1]

    yield push
    lis.close()


def test_a_pushed_message_repeats_the_numbers_of_the_order(order, pushed) -> None:
    order(accession_number=PATIENT["accession_number"])
    assert "ORC|RE|P-1|F-1" in pushed()


def test_each_answer_is_in_the_document() -> None:
    paths = document()["paths"]
    always = {"401", "403", "429", "503"}
    for path, method, statuses in (
        ("/v1/orders", "post", {"200", "201", "400", "409", "413", "422"}),
        ("/v1/orders", "get", {"200", "422"}),
        ("/v1/orders/{order_id}", "get", {"200", "404"}),
        ("/v1/orders/{order_id}", "delete", {"200", "404", "409"}),
    ):
        assert set(paths[path][method]["responses"]) == statuses | always
