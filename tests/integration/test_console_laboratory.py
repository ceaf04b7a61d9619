"""The laboratory's pages, without a browser: what they list, refuse and hand out."""

from __future__ import annotations

import io
import re
import uuid
from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient
from PIL import Image
from pydantic import SecretStr
from reportlab.platypus import Paragraph, Table
from sqlalchemy import text

from services.api.app import create_app
from services.api.console.pdf import text as printed
from services.api.console.report import FieldOnPaper, report
from shared.auth.keys import Scope, create_key
from shared.jobs.claim import claim
from shared.jobs.complete import complete
from shared.storage import explanation_key
from shared.triage.policy import Urgency
from shared.triage.result import TriageResult
from shared.triage.wording import TEXTS, Language
from shared.triage.wording.english import ENGLISH
from tests.factories import encode, smear_bytes
from tests.integration.jobs import post
from tests.unit.interop.finished import DOUBTFUL, URGENT, finished


@pytest.fixture
def app(settings, storage):
    return create_app(settings.model_copy(update={"console_secret": SecretStr("s" * 32)}))


@pytest.fixture
def sign_in(app, sessions):
    """Signs a new visitor in; returns the browser."""

    def signed_in(*scopes: Scope) -> FlaskClient:
        _, key = create_key(sessions, "visitor", scopes or list(Scope))
        browser = app.test_client()
        token = token_of(browser.get("/console/sign-in").text)
        browser.post("/console/sign-in", data={"key": key, "csrf_token": token})
        browser.token = token_of(browser.get("/console/sign-in", follow_redirects=True).text)
        return browser

    return signed_in


@pytest.fixture
def browser(sign_in) -> FlaskClient:
    return sign_in()


def token_of(page: str) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert found is not None, page
    return found[1]


def send(browser: FlaskClient, *images: bytes, **fields: str):
    files = [(io.BytesIO(data), f"{index}.png") for index, data in enumerate(images)]
    data = {"csrf_token": browser.token, "request_key": uuid.uuid4().hex, "image": files, **fields}
    return browser.post("/console/send", data=data)


def test_the_page_shows_cases_and_what_is_wrong_with_a_filter(browser, a_case) -> None:
    a_case(accession_number="A-77")
    shown = browser.get("/console/worklist?urgency=&accession_number=A-77")
    assert "A-77" in shown.text
    assert "No case here." in browser.get("/console/worklist?urgency=urgent").text
    wrong = browser.get("/console/worklist?urgency=soon&result_to=yesterday")
    assert wrong.status_code == 422
    assert "result_to, urgency" in wrong.text


def test_what_failed_is_listed_too_and_the_page_says_what_to_do(
    browser, sessions, storage, key_id
) -> None:
    job = post(sessions, storage, key_id, accession_number="A-13").job
    statement = "UPDATE jobs SET status = 'dead', finished_at = now(), error_code = 'expired'"
    with sessions.begin() as session:
        session.execute(text(statement))
    assert "A-13" in browser.get("/console/worklist?status=dead").text
    shown = browser.get(f"/console/cases/{job.id}").text
    assert "No worker took it for too long." in shown
    assert "expired" in shown


@pytest.mark.parametrize(
    "since", ["0001-01-01T00:00%2B23:59", "9999-12-31T23:59-23:59", "0001-01-01"]
)
def test_a_moment_that_no_database_knows_is_passed_over(browser, since: str) -> None:
    assert browser.get(f"/console/worklist/live?since={since}").status_code == 200


def test_the_live_part_is_sent_only_when_it_has_changed(browser, a_case) -> None:
    first = browser.get("/console/worklist/live").text
    seen = re.search(r"seen=([0-9a-f]{16})", first)
    assert seen is not None
    assert browser.get(f"/console/worklist/live?seen={seen[1]}").status_code == 204
    a_case(Urgency.URGENT, 0)
    later = browser.get(f"/console/worklist/live?seen={seen[1]}")
    assert later.status_code == 200
    assert "1 urgent" in later.text


def test_a_form_makes_one_job_however_often_it_is_sent(browser, sessions) -> None:
    data = {"accession_number": " S-1 ", "priority": "", "request_key": "k1"}
    first = send(browser, smear_bytes(), **data)
    again = send(browser, smear_bytes(), **data)
    assert first.status_code == again.status_code == 303
    assert first.location == again.location
    assert "S-1" in browser.get("/console/send/live").text


def test_a_form_with_a_key_that_no_database_holds_is_refused(browser) -> None:
    refused = send(browser, smear_bytes(), request_key="k\0")
    assert (refused.status_code, "bad_request" in refused.text) == (400, True)


def test_a_refused_file_is_named_with_its_code_and_the_form_keeps_its_texts(browser) -> None:
    refused = send(browser, b"no image", accession_number="S-9")
    assert refused.status_code == 415
    assert "unsupported_media_type" in refused.text
    assert 'value="S-9"' in refused.text


def test_a_key_without_the_scope_sends_nothing(sign_in) -> None:
    reader = sign_in(Scope.READ)
    assert reader.get("/console/send").status_code == 403
    assert send(reader, smear_bytes()).status_code == 403


def test_a_queued_job_can_be_taken_back(browser) -> None:
    sent = send(browser, smear_bytes())
    job_id = sent.location.rpartition("=")[2]
    assert "Take it back" in browser.get(f"/console/cases/{job_id}").text
    browser.post(f"/console/cases/{job_id}/cancel", data={"csrf_token": browser.token})
    assert "It was taken back" in browser.get(f"/console/cases/{job_id}").text
    assert browser.get(f"/console/cases/{job_id}/live").headers["HX-Refresh"] == "true"


def test_a_tiff_is_shown_as_a_png_and_a_png_as_it_came(browser) -> None:
    png, tiff = smear_bytes(1), smear_bytes(2, "TIFF")
    job_id = send(browser, png, tiff).location.rpartition("=")[2]
    address = f"/console/cases/{job_id}/images"
    assert browser.get(f"{address}/0").data == png
    shown = browser.get(f"{address}/1")
    assert shown.mimetype == "image/png"
    assert Image.open(io.BytesIO(shown.data)).tobytes() == Image.open(io.BytesIO(tiff)).tobytes()
    assert Image.open(io.BytesIO(browser.get(f"{address}/1/thumb").data)).size == (160, 160)
    assert browser.get(f"{address}/2").status_code == 404


@pytest.fixture
def explained(browser, runner) -> Iterator[str]:
    """The address of a case of two fields with a result."""
    job_id = send(browser, smear_bytes(1), smear_bytes(2)).location.rpartition("=")[2]
    runner.run(uuid.UUID(job_id), worker="w")
    return f"/console/cases/{job_id}"


def test_a_case_says_all_of_its_result(browser, explained) -> None:
    shown = browser.get(f"{explained}?field=1").text
    for said in ("Field 2 of 2", "not a diagnosis", "Sharpness of detail", "at least 0.74"):
        assert said in shown
    assert browser.get(f"{explained}?field=2").status_code == 404


@pytest.mark.parametrize(
    ("language", "whose"),
    [(Language.ENGLISH, "field 2"), (Language.INDONESIAN, "lapang pandang 2")],
)
def test_a_doubt_about_one_field_of_a_case_names_the_field_wherever_it_stands(
    browser, sessions, language: Language, whose: str
) -> None:
    job_id = uuid.UUID(send(browser, smear_bytes(1), smear_bytes(2)).location.rpartition("=")[2])
    held = claim(sessions, [job_id], worker="w", lease_seconds=60)[job_id]
    assert complete(sessions, [(held, replaced(finished(URGENT, DOUBTFUL).result, job_id))])
    reason = TEXTS[language].reasons["low_confidence"]
    named, wanted = f"<li>{whose}: {reason}</li>", {"Accept-Language": language}
    for address in ("worklist", f"cases/{job_id}", f"review/{job_id}"):
        page = browser.get(f"/console/{address}", headers=wanted).text
        assert named in page, address
        assert f"<li>{reason}</li>" not in page, address


@pytest.mark.parametrize(("rows", "whose"), [((URGENT, DOUBTFUL), "field 2: "), ((DOUBTFUL,), "")])
def test_a_report_names_the_field_that_a_doubt_is_about(app, rows, whose: str) -> None:
    job, picture = finished(*rows), smear_bytes(1, "JPEG")
    result = TriageResult.model_validate(job.result)
    papers = [
        FieldOnPaper(found, image, None, picture, None)
        for found, image in zip(result.images, job.images, strict=True)
    ]
    with app.test_request_context():
        first_page = list(report(job, result, papers, result.created_at).body)[:8]
    tables = [one for one in first_page if isinstance(one, Table)]
    cells = [cell.text for table in tables for row in table._cellvalues for cell in row
             if isinstance(cell, Paragraph)]  # fmt: skip
    explained = [ENGLISH.reasons[code] for code in ("low_confidence", "subtype_uncertain")]
    assert "; ".join(f"{whose}{text}" for text in explained) in cells


def test_the_worklist_does_not_name_the_one_field_of_a_case(browser, sessions) -> None:
    job_id = uuid.UUID(send(browser, smear_bytes()).location.rpartition("=")[2])
    held = claim(sessions, [job_id], worker="w", lease_seconds=60)[job_id]
    assert complete(sessions, [(held, replaced(finished(DOUBTFUL).result, job_id))])
    page = browser.get("/console/worklist").text
    assert f"<li>{TEXTS[Language.ENGLISH].reasons['low_confidence']}</li>" in page


def replaced(document: dict[str, object], job_id: uuid.UUID) -> TriageResult:
    return TriageResult.model_validate({**document, "job_id": str(job_id)})


def test_an_explanation_is_asked_for_once_and_waited_for(browser, explained) -> None:
    address = f"{explained}/images/0/explanation"
    asked = browser.post(address, data={"method": "lime", "csrf_token": browser.token})
    assert asked.location.endswith("field=0#explanation")
    assert "every 1s" in browser.get(address).text
    assert browser.get(f"{explained}/images/0/overlay/lime").status_code == 404
    wrong = browser.post(address, data={"method": "magic", "csrf_token": browser.token})
    assert wrong.status_code == 404


def test_a_result_is_handed_out_in_each_form_that_there_is(browser, explained) -> None:
    fhir = browser.get(f"{explained}/result/fhir")
    assert fhir.json["resourceType"] == "Bundle"
    assert "attachment" in fhir.headers["Content-Disposition"]
    assert browser.get(f"{explained}/result/dicom").status_code == 406
    assert browser.get(f"{explained}/result/xml").status_code == 404


def test_a_report_has_a_page_for_the_job_and_one_for_each_field(browser, explained) -> None:
    report = browser.get(f"{explained}/report.pdf")
    assert report.mimetype == "application/pdf"
    assert len(re.findall(rb"/Type /Page\b", report.data)) == 3
    indonesian = browser.get(f"{explained}/report.pdf", headers={"Accept-Language": "id"})
    assert len(re.findall(rb"/Type /Page\b", indonesian.data)) == 3
    assert indonesian.data != report.data


def test_a_report_shows_an_explanation_that_was_made(browser, explained, sessions, storage) -> None:
    without = browser.get(f"{explained}/report.pdf").data
    browser.post(
        f"{explained}/images/0/explanation",
        data={"method": "gradcam", "csrf_token": browser.token},
    )
    picture = encode(Image.new("RGB", (1020, 600), "orange"))
    job_id, sha256 = explained.rpartition("/")[2], "f" * 64
    key = explanation_key(job_id, 0, "gradcam", sha256)
    statement = """
        UPDATE explanations SET status = 'succeeded', progress = 1, finished_at = now(),
            document = '{}', png_sha256 = :sha256
    """
    with sessions.begin() as session:
        session.execute(text(statement), {"sha256": sha256})
    lost = browser.get(f"{explained}/report.pdf")
    assert lost.status_code == 200
    assert browser.get(f"{explained}/images/0/overlay/gradcam").status_code == 404
    storage.put(key, io.BytesIO(picture), len(picture), "image/png")
    overlay = browser.get(f"{explained}/images/0/overlay/gradcam")
    assert Image.open(io.BytesIO(overlay.data)).size == (448, 448)
    assert len(browser.get(f"{explained}/report.pdf").data) > len(without)


def test_what_the_type_lacks_is_written_by_its_number() -> None:
    assert printed("A-7 <漢>").text == "A-7 &lt;[U+6F22]&gt;"


def test_a_report_without_a_result_is_refused(browser) -> None:
    job_id = send(browser, smear_bytes()).location.rpartition("=")[2]
    assert browser.get(f"/console/cases/{job_id}/report.pdf").status_code == 409
