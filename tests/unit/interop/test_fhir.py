"""A result as a FHIR bundle: valid, whole, of one mind with the result, and always the same."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from fhir.resources.R4B.bundle import Bundle
from hypothesis import given, settings
from hypothesis import strategies as st

from shared import __version__
from shared.errors import NoResultError
from shared.interop.fhir import bundle
from shared.triage.labels import LABELS, Label
from shared.triage.wording import TEXTS, Language
from shared.triage.wording.english import ENGLISH
from shared.triage.wording.indonesian import INDONESIAN
from tests.unit.interop.finished import CLEAR, DOUBTFUL, QUALITY, URGENT, finished
from tests.unit.interop.sources import source


def resources(of: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    found = [entry["resource"] for entry in of["entry"]]
    return [resource for resource in found if resource["resourceType"] == kind]


def observation(of: dict[str, Any], code: str) -> dict[str, Any]:
    """The one of the job."""
    found = [
        one
        for one in resources(of, "Observation")
        if one["code"]["coding"][0]["code"] == code and "identifier" not in one
    ]
    assert len(found) == 1
    return found[0]


def components(one: dict[str, Any]) -> list[tuple[str, Any]]:
    return [
        (
            part["code"]["coding"][0]["code"],
            next(value for name, value in part.items() if name.startswith("value")),
        )
        for part in one["component"]
    ]


def strings(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        for value in part.values():
            yield from strings(value)
    elif isinstance(part, list):
        for value in part:
            yield from strings(value)
    elif isinstance(part, str):
        yield part


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("rows", [[DOUBTFUL], [CLEAR], [URGENT, CLEAR, DOUBTFUL]])
@pytest.mark.parametrize("known", [True, False])
def test_a_bundle_is_valid(rows: list[tuple[float, ...]], known: bool, language: Language) -> None:
    missing = {} if known else dict.fromkeys(("accession_number", "specimen_id", "patient_ref"))
    made = bundle(finished(*rows, **missing), [source(0)] if known else [], language=language)
    read = json.loads(Bundle.model_validate(made).model_dump_json())
    assert len(read["entry"]) == len(made["entry"]) == len(rows) + 6
    # Times apart, which the library writes with more digits, nothing was dropped or changed.
    assert without_times(read) == without_times(made)


def without_times(part: Any) -> Any:
    if isinstance(part, dict):
        return {name: without_times(value) for name, value in part.items()}
    if isinstance(part, list):
        return [without_times(value) for value in part]
    is_time = isinstance(part, str) and re.match(r"\d{4}-\d\d-\d\dT", part)
    return "a time" if is_time else part


@settings(max_examples=25, deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=128)
    .map(str.strip)
    .filter(bool)
)
def test_any_identifier_of_a_hospital_gives_a_valid_bundle(text: str) -> None:
    job = finished(accession_number=text, specimen_id=text, patient_ref=text)
    made = bundle(job, [])
    Bundle.model_validate(made)
    report = resources(made, "DiagnosticReport")[0]
    assert report["basedOn"][0]["identifier"]["value"] == text
    assert report["subject"] == {"type": "Patient", "identifier": {"value": text}}
    assert report["specimen"] == [{"type": "Specimen", "identifier": {"value": text}}]


def test_the_same_job_gives_the_same_bytes_and_another_job_other_ids() -> None:
    first, again = (json.dumps(bundle(finished(), [source(0)])) for _ in range(2))
    assert first == again
    other = json.dumps(bundle(finished(id=uuid.uuid4()), [source(0)]))
    ids = re.compile(r'"id": "([0-9a-f-]{36})"')
    assert not set(ids.findall(first)) & set(ids.findall(other))
    assert len(set(ids.findall(first))) == len(ids.findall(first)) == 8


def test_every_reference_leads_into_the_bundle_or_names_what_is_elsewhere() -> None:
    made = bundle(finished(URGENT, DOUBTFUL), [source(0), source(1)])
    known = {entry["fullUrl"] for entry in made["entry"]}
    used = set(re.findall(r'"reference": "([^"]+)"', json.dumps(made)))
    assert used <= known
    assert len(used) == len(known) - 1, "nobody refers to the provenance"
    report = resources(made, "DiagnosticReport")[0]
    assert {one["reference"] for one in report["result"]} == {
        f"urn:uuid:{one['id']}" for one in resources(made, "Observation")
    }


def test_nothing_is_final_whatever_it_says() -> None:
    for rows in ([CLEAR], [URGENT], [DOUBTFUL]):
        made = bundle(finished(*rows), [])
        for one in (*resources(made, "DiagnosticReport"), *resources(made, "Observation")):
            assert one["status"] == "preliminary"


def test_the_report_says_what_the_result_says() -> None:
    report = resources(bundle(finished(), [source(0)]), "DiagnosticReport")[0]
    assert report["conclusion"].splitlines() == [
        "pattern consistent with Early Pre-B ALL",
        "priority: priority review and confirmation, 12-24 h",
        ENGLISH.reasons["low_confidence"],
        ENGLISH.reasons["subtype_uncertain"],
        ENGLISH.disclaimer,
    ]
    assert [one["coding"][0]["code"] for one in report["conclusionCode"]] == ["pattern-early"]
    assert [one["code"] for one in report["code"]["coding"]] == ["5909-7", "smear-triage"]
    assert report["imagingStudy"] == [
        {
            "type": "ImagingStudy",
            "identifier": {"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"},
        }
    ]
    assert (report["effectiveDateTime"], report["issued"]) == (
        "2026-01-02T03:04:03.600Z",
        "2026-01-02T03:04:05.600Z",
    )


@pytest.mark.parametrize("language", Language)
def test_the_reasons_of_several_fields_say_whose_they_are(language: Language) -> None:
    made = bundle(finished(URGENT, DOUBTFUL), [], language=language)
    texts = TEXTS[language]
    field = texts.one_field.format(n=2)
    explained = [texts.reasons[code] for code in ("low_confidence", "subtype_uncertain")]
    named = [f"{field}: {text}" for text in explained]
    conclusion = resources(made, "DiagnosticReport")[0]["conclusion"].splitlines()
    assert conclusion[0] == texts.display[Label.EARLY]
    assert conclusion[2:-1] == named
    said = [value for _, value in components(observation(made, "requires-review"))]
    assert [one["text"] for one in said] == named
    of_field = [one for one in resources(made, "Observation") if "identifier" in one][1]
    own = [value for code, value in components(of_field) if code == "review-reason"]
    assert [one["text"] for one in own] == explained
    assert [one["coding"] for one in own] == [one["coding"] for one in said]


def test_the_observations_carry_the_numbers_of_the_result() -> None:
    job = finished(DOUBTFUL, CLEAR)
    made = bundle(job, [])
    result = job.result
    assert result is not None
    pattern = observation(made, "pattern")
    said = {code: value["value"] for code, value in components(pattern)}
    assert said == {
        **{f"p-{label.lower()}": result["probabilities"][label] for label in LABELS},
        "p-all": result["p_malignant"],
    }
    assert {note["text"] for note in pattern["note"]} == {result["disclaimer"], result["limits"]}
    urgency = observation(made, "urgency")
    assert urgency["valueCodeableConcept"]["coding"][0]["code"] == "urgency-priority"
    assert urgency["interpretation"][0]["coding"][0]["code"] == "A"
    assert components(urgency) == [
        ("action", "priority review and confirmation"),
        ("timeline", "12-24 h"),
    ]
    review = observation(made, "requires-review")
    assert review["valueBoolean"] is True
    assert [value["coding"][0]["code"] for _, value in components(review)] == result["reasons"]


def test_each_field_has_its_own_observation_with_its_quality() -> None:
    job = finished(DOUBTFUL, CLEAR)
    made = bundle(job, [source(1)])
    fields = [one for one in resources(made, "Observation") if "identifier" in one]
    assert [one["identifier"][0]["value"] for one in fields] == [i.sha256 for i in job.images]
    said = dict(components(fields[1]))
    assert said["q-cells"]["value"] == QUALITY.nucleated_cells
    assert said["q-focus"]["value"] == QUALITY.focus
    assert said["unlikeness"]["value"] == 0.5
    assert said["urgency"]["coding"][0]["code"] == "urgency-routine"
    assert said["requires-review"] is False
    assert "interpretation" not in fields[1]
    assert "derivedFrom" not in fields[0], "that image was no DICOM"
    assert fields[1]["derivedFrom"][0]["identifier"]["value"] == "urn:oid:1.2.3"


def test_the_device_is_known_down_to_its_bytes() -> None:
    device = resources(bundle(finished(), []), "Device")[0]
    assert device["modelNumber"] == "ensemble@1"
    assert device["identifier"] == [{"system": "urn:hemotriage:sha256", "value": "ab" * 32}]
    assert [code["text"] for code in device["property"][0]["valueCode"]] == [
        "openvino",
        "f32",
        f"sha256:{'ab' * 32}",
    ]
    versions = {one["type"]["text"]: one["value"] for one in device["version"]}
    assert versions == {"software": __version__, "policy": "2"}


def test_the_provenance_names_device_report_and_every_image() -> None:
    job = finished(DOUBTFUL, CLEAR)
    made = bundle(job, [source(1, frame=7)])
    (provenance,) = resources(made, "Provenance")
    device, report = resources(made, "Device")[0], resources(made, "DiagnosticReport")[0]
    assert provenance["agent"][0]["who"]["reference"] == f"urn:uuid:{device['id']}"
    assert provenance["target"] == [{"reference": f"urn:uuid:{report['id']}"}]
    assert provenance["recorded"] == "2026-01-02T03:04:05.600Z"
    looked_at = [one["what"] for one in provenance["entity"]]
    assert [what["identifier"]["value"] for what in looked_at] == [
        job.images[0].sha256,
        job.images[1].sha256,
        "urn:oid:1.2.3.4.1",
    ]
    assert looked_at[2]["display"] == "image 1, frame 7"


def test_texts_follow_the_language_and_nothing_else_does() -> None:
    english, indonesian = (bundle(finished(), [], language=one) for one in Language)
    texts = set(strings(indonesian))
    assert INDONESIAN.display[Label.EARLY] in texts
    assert INDONESIAN.disclaimer in texts
    assert ENGLISH.disclaimer not in texts
    for made in (english, indonesian):
        assert (
            observation(made, "pattern")["component"]
            == (observation(english, "pattern")["component"])
        )


def test_several_studies_are_named_once_each() -> None:
    sources = [source(0), source(1), replace(source(2), study_uid="1.9")]
    report = resources(bundle(finished(CLEAR, CLEAR, CLEAR), sources), "DiagnosticReport")[0]
    assert [one["identifier"]["value"] for one in report["imagingStudy"]] == [
        "urn:oid:1.2.3",
        "urn:oid:1.9",
    ]


def test_a_job_without_a_result_has_no_bundle() -> None:
    with pytest.raises(NoResultError):
        bundle(finished(result=None), [])


def test_a_result_of_an_earlier_release_is_a_valid_bundle() -> None:
    job = finished()
    assert job.result is not None
    earlier = json.loads(json.dumps(job.result))
    for part in (earlier, *earlier["images"]):
        for name in ("reason_texts", "label_set", "unlikeness", "quality", "within_hours"):
            part.pop(name, None)
    del earlier["fields"]
    made = bundle(replace(job, result=earlier), [])
    Bundle.model_validate(made)
    assert ENGLISH.reasons["low_confidence"] in resources(made, "DiagnosticReport")[0]["conclusion"]
