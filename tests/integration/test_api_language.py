"""Results are read in the language that `Accept-Language` asks for."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from sqlalchemy import update

from shared.db.models import ResultRow
from shared.db.session import Sessions
from shared.jobs.claim import claim
from shared.jobs.complete import complete
from shared.triage.evidence import Evidence
from shared.triage.labels import Label
from shared.triage.result import ModelReference, TriageResult, field_result, triage_result
from shared.triage.wording.english import ENGLISH
from shared.triage.wording.indonesian import INDONESIAN
from tests.factories import smear_bytes
from tests.integration.posting import post

REASONS = ["low_confidence", "several_labels_possible", "subtype_uncertain"]
WORDED = {
    "en": {
        "display": "pattern consistent with Early Pre-B ALL",
        "recommended_action": "priority review and confirmation",
        "timeline": "12-24 h",
        "reason_texts": [ENGLISH.reasons[code] for code in REASONS],
        "disclaimer": ENGLISH.disclaimer,
        "limits": ENGLISH.limits,
    },
    "id": {
        "display": "pola sesuai dengan LLA Early Pre-B",
        "recommended_action": "peninjauan dan konfirmasi dengan prioritas",
        "timeline": "12-24 jam",
        "reason_texts": [INDONESIAN.reasons[code] for code in REASONS],
        "disclaimer": INDONESIAN.disclaimer,
        "limits": INDONESIAN.limits,
    },
}


@pytest.fixture
def link(client: FlaskClient, sessions: Sessions) -> str:
    """Where a job is that has ended with a result of priority and three reasons."""
    accepted = post(client, smear_bytes()).json
    job_id = uuid.UUID(accepted["id"])
    held = claim(sessions, [job_id], worker="w", lease_seconds=60)[job_id]
    assert complete(sessions, [(held, doubtful_result(job_id))])
    return accepted["links"]["self"]


def doubtful_result(job_id: uuid.UUID) -> TriageResult:
    row = np.array([0.01, 0.85, 0.13, 0.01])
    doubts = {"label_set": (Label.EARLY, Label.PRE), "unlikeness": 0.5}
    field = field_result(0, Evidence(row.astype(np.float32), row, **doubts))
    model = ModelReference(name="m", version=1, sha256="", engine="openvino", precision="f32")
    now = dt.datetime.now(dt.UTC)
    return triage_result(str(job_id), [field], [model], created_at=now, timings_ms={})


def store(sessions: Sessions, document: dict[str, Any]) -> None:
    """Put another document in the place of the one result."""
    with sessions.begin() as session:
        session.execute(update(ResultRow).values(document=document))


def said(result: dict[str, Any]) -> dict[str, Any]:
    """The texts of a result."""
    return {name: result[name] for name in WORDED["en"]}


def codes(part: Any) -> Any:
    """A result without its texts."""
    if isinstance(part, list):
        return [codes(one) for one in part]
    if isinstance(part, dict):
        return {name: codes(one) for name, one in part.items() if name not in WORDED["en"]}
    return part


@pytest.mark.parametrize(
    ("wanted", "language"),
    [
        (None, "en"),
        ("id", "id"),
        ("ID", "id"),
        ("id-ID,en;q=0.5", "id"),
        ("en;q=0.5,id-ID", "id"),
        ("id,en", "id"),
        ("en-GB,id", "en"),
        ("de,id;q=0.1", "id"),
        ("de", "en"),
        ("id;q=0", "en"),
        ("*", "en"),
        ("", "en"),
        (";;,=;q=x, \xff, " + "-x" * 2000, "en"),
    ],
)
def test_a_result_is_in_the_language_that_is_wanted(
    client: FlaskClient, link: str, wanted: str | None, language: str
) -> None:
    headers = {} if wanted is None else {"Accept-Language": wanted}
    job, listed, result = (
        client.get(path, headers=headers) for path in (link, "/v1/jobs", f"{link}/result")
    )
    for answer in (job, listed, result):
        assert answer.status_code == 200
        assert answer.headers["Content-Language"] == language
        assert answer.headers["Vary"] == "Accept-Language"
    assert job.json["result"] == listed.json["jobs"][0]["result"] == result.json
    assert said(result.json) == WORDED[language]
    image = result.json["images"][0]
    for name in ("display", "recommended_action", "timeline"):
        assert image[name] == WORDED[language][name]
    explained = dict(zip(REASONS, WORDED[language]["reason_texts"], strict=True))
    assert image["reason_texts"] == [explained[code] for code in image["reasons"]]
    assert set(image["reasons"]) == set(REASONS)


def test_codes_and_numbers_are_the_same_in_every_language(client: FlaskClient, link: str) -> None:
    english, indonesian = (
        client.get(f"{link}/result", headers={"Accept-Language": language}).json
        for language in ("en", "id")
    )
    assert codes(english) == codes(indonesian)
    assert english["reasons"] == REASONS
    assert english["urgency"] == "priority"
    assert english != indonesian


def test_a_tag_holds_for_one_language(client: FlaskClient, link: str) -> None:
    tags = {
        language: client.get(link, headers={"Accept-Language": language}).headers["ETag"]
        for language in ("en", "id")
    }
    assert tags["en"] != tags["id"]
    for asked in ("en", "id"):
        for known in ("en", "id"):
            headers = {"Accept-Language": asked, "If-None-Match": tags[known]}
            answer = client.get(link, headers=headers)
            assert answer.status_code == (304 if asked == known else 200)
            assert answer.headers["Vary"] == "Accept-Language"
            assert answer.headers["ETag"] == tags[asked]


def test_a_job_without_a_result_has_a_tag_a_language_too(client: FlaskClient) -> None:
    waiting = post(client, smear_bytes()).json["links"]["self"]
    answers = [client.get(waiting, headers={"Accept-Language": tag}) for tag in ("en", "id")]
    assert answers[0].json == answers[1].json
    assert answers[0].headers["ETag"] != answers[1].headers["ETag"]


def test_a_refusal_names_no_language(client: FlaskClient) -> None:
    waiting = post(client, smear_bytes()).json["links"]["self"]
    for path in (f"{waiting}/result", f"/v1/jobs/{uuid.uuid4()}"):
        refused = client.get(path, headers={"Accept-Language": "id"})
        assert refused.content_type == "application/problem+json"
        assert "Content-Language" not in refused.headers


def test_a_result_of_an_earlier_release_is_worded_too(
    client: FlaskClient, sessions: Sessions, link: str
) -> None:
    earlier = client.get(f"{link}/result").json
    since = ("reason_texts", "label_set", "unlikeness", "opinions")
    for part in (earlier, *earlier["images"]):
        for name in since:
            part.pop(name, None)
    del earlier["fields"]
    store(sessions, earlier)
    for language, texts in WORDED.items():
        headers = {"Accept-Language": language}
        result = client.get(f"{link}/result", headers=headers).json
        assert said(result) == texts
        assert set(result["images"][0]["reason_texts"]) == set(texts["reason_texts"])
        assert client.get(link, headers=headers).json["result"] == result


def test_what_another_release_says_stays_as_it_is(
    client: FlaskClient, sessions: Sessions, link: str
) -> None:
    other = client.get(f"{link}/result").json
    other |= {"recommended_action": "an action of another release", "limits": "other limits"}
    other |= {"reasons": ["of_another_release"], "reason_texts": ["why it was asked for"]}
    store(sessions, other)
    result = client.get(f"{link}/result", headers={"Accept-Language": "id"}).json
    for name in ("recommended_action", "limits", "reasons", "reason_texts"):
        assert result[name] == other[name]
    assert result["display"] == WORDED["id"]["display"]


def test_the_document_describes_the_header(client: FlaskClient) -> None:
    paths = client.get("/openapi.json").json["paths"]
    with_header = {
        path
        for path, item in paths.items()
        for parameter in item.get("get", {}).get("parameters", [])
        if parameter["name"] == "Accept-Language"
    }
    assert with_header == {"/v1/jobs", "/v1/jobs/{job_id}", "/v1/jobs/{job_id}/result"}
