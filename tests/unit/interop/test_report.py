"""A result as a DICOM structured report, read back by pydicom, highdicom and dcmtk."""

from __future__ import annotations

import io
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom as hd
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ComprehensiveSRStorage

from shared.errors import NoResultError
from shared.interop import codes
from shared.interop.dicom.report import structured_report
from shared.interop.results import NoDicomSourceError, identity
from shared.interop.sources import DicomSource
from shared.jobs.entities import Job
from shared.triage.labels import LABELS
from shared.triage.wording.english import ENGLISH
from tests.unit.interop.finished import CLEAR, DOUBTFUL, URGENT, finished
from tests.unit.interop.sources import MICROSCOPIC, MULTI_FRAME, source

REASONS_THAT_ARE_LONG = [code for code, one in codes.REASONS.items() if len(one.display) > 64]


def read(job: Job, sources: Sequence[DicomSource]) -> Dataset:
    return pydicom.dcmread(io.BytesIO(structured_report(job, sources)))


def items(node: Dataset) -> Iterator[Dataset]:
    """Every content item below a node, as they stand."""
    for item in node.get("ContentSequence", ()):
        yield item
        yield from items(item)


def name_of(item: Dataset) -> str:
    concept = item.ConceptNameCodeSequence[0]
    return str(concept.get("CodeValue") or concept.LongCodeValue)


def values(node: Dataset, name: str, attribute: str) -> list[Any]:
    """Of the items of that name which have the attribute."""
    found = [item for item in items(node) if name_of(item) == name]
    return [item[attribute].value for item in found if attribute in item]


def code_of(sequence: Sequence[Dataset]) -> str:
    return str(sequence[0].get("CodeValue") or sequence[0].LongCodeValue)


def test_it_is_a_preliminary_measurement_report_by_nobody() -> None:
    report = read(finished(), [source(0)])
    assert report.SOPClassUID == ComprehensiveSRStorage
    assert report.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert report.Modality == "SR"
    assert (report.PreliminaryFlag, report.VerificationFlag) == ("PRELIMINARY", "UNVERIFIED")
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert "VerifyingObserverSequence" not in report
    assert values(report, "121005", "ConceptCodeSequence")[0][0].CodeMeaning == "Device"
    assert values(report, "121015", "TextValue") == ["ensemble@1"]
    assert (report.Manufacturer, report.ManufacturerModelName) == ("hemotriage", "ensemble@1")


def test_the_patient_has_a_pseudonym_and_no_name() -> None:
    report = read(finished(), [source(0)])
    assert report.PatientID == "pn-abc"
    assert report.AccessionNumber == "A-17"
    for name in ("PatientName", "PatientBirthDate", "PatientSex", "ReferringPhysicianName"):
        assert not report[name].value


@pytest.mark.parametrize("text", ["x" * 17, "a\\b", "a\x7fb"])
def test_an_identifier_that_dicom_has_no_room_for_is_left_out_and_never_cut(text: str) -> None:
    report = read(finished(accession_number=text, patient_ref=text * 4), [source(0)])
    assert not report.AccessionNumber
    assert not report.PatientID


def test_letters_of_any_script_are_kept() -> None:
    report = read(finished(patient_ref="ψευδώνυμο-漢"), [source(0)])
    assert report.PatientID == "ψευδώνυμο-漢"
    assert report.SpecificCharacterSet == "ISO_IR 192"


def test_it_belongs_to_the_study_and_names_every_instance() -> None:
    report = read(finished(DOUBTFUL, CLEAR), [source(0), source(1)])
    assert report.StudyInstanceUID == "1.2.3"
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    assert (study.StudyInstanceUID, series.SeriesInstanceUID) == ("1.2.3", "1.2.3.4")
    named = [one.ReferencedSOPInstanceUID for one in series.ReferencedSOPSequence]
    assert named == ["1.2.3.4.0", "1.2.3.4.1"]
    library = [item for item in items(report) if name_of(item) == "111028"]
    assert len(library) == 1
    images = [item for item in items(library[0]) if item.ValueType == "IMAGE"]
    assert [one.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for one in images] == named


def test_another_study_is_other_evidence() -> None:
    sources = [source(0), replace(source(1), study_uid="1.9", series_uid="1.9.1")]
    report = read(finished(DOUBTFUL, CLEAR), sources)
    assert report.StudyInstanceUID == "1.2.3"
    (other,) = report.PertinentOtherEvidenceSequence
    assert other.StudyInstanceUID == "1.9"


def test_the_first_image_decides_the_study_however_instances_alternate() -> None:
    several = source(0, sop_class_uid=MULTI_FRAME)
    other = replace(source(1), study_uid="1.9", series_uid="1.9.1")
    report = read(
        finished(CLEAR, CLEAR, CLEAR), [several, other, replace(several, index=2, frame=2)]
    )
    assert report.StudyInstanceUID == "1.2.3"


def test_frames_are_named_where_an_instance_may_have_several() -> None:
    several = replace(source(0, sop_class_uid=MULTI_FRAME), instance_uid="1.2.3.4.9")
    sources = [several, replace(several, index=1, frame=2), source(2)]
    report = read(finished(DOUBTFUL, CLEAR, CLEAR), sources)
    groups = [item for item in items(report) if name_of(item) == "125007"]
    assert len(groups) == 4
    referenced = [
        [
            (
                one.ReferencedSOPSequence[0].ReferencedSOPInstanceUID,
                one.ReferencedSOPSequence[0].get("ReferencedFrameNumber"),
            )
            for one in items(group)
            if one.ValueType == "IMAGE"
        ]
        for group in groups
    ]
    assert referenced == [
        [("1.2.3.4.2", None), ("1.2.3.4.9", [1, 2])],
        [("1.2.3.4.9", 1)],
        [("1.2.3.4.9", 2)],
        [("1.2.3.4.2", None)],
    ]


def test_the_groups_measure_what_the_result_says() -> None:
    job = finished(DOUBTFUL, CLEAR)
    assert job.result is not None
    report = read(job, [source(0), source(1)])
    document = hd.sr.ComprehensiveSR.from_dataset(report)
    groups = document.content.get_image_measurement_groups()
    assert [group.tracking_identifier for group in groups] == [
        "job",
        "field 1 of 2",
        "field 2 of 2",
    ]
    for group, part in zip(groups, [job.result, *job.result["images"]], strict=True):
        measured = {one.name.value: one.value for one in group.get_measurements()}
        assert measured == pytest.approx(
            {
                **{f"p-{label.lower()}": part["probabilities"][label] for label in LABELS},
                "p-all": part["p_malignant"],
            }
        )
        assert {one.unit.value for one in group.get_measurements()} == {"1"}
        said = {one.name.value: one.value.value for one in group.get_qualitative_evaluations()}
        assert said["pattern"] == f"pattern-{part['prediction'].lower()}"
        assert said["urgency"] == f"urgency-{part['urgency']}"


def test_the_texts_stand_whole_beside_the_codes() -> None:
    report = read(finished(URGENT, DOUBTFUL), [source(0)])
    assert values(report, "disclaimer", "TextValue") == [ENGLISH.disclaimer]
    assert values(report, "limits", "TextValue") == [ENGLISH.limits]
    assert values(report, "timeline", "TextValue") == ["immediate"]
    assert code_of(values(report, "requires-review", "ConceptCodeSequence")[0]) == "373066001"


def test_the_reasons_of_several_fields_say_whose_they_are() -> None:
    report = read(finished(URGENT, DOUBTFUL), [source(0), source(1)])
    explained = [ENGLISH.reasons[code] for code in ("low_confidence", "subtype_uncertain")]
    assert values(report, "review-reason", "TextValue") == [f"field 2: {one}" for one in explained]
    meanings = [
        one[0].CodeMeaning for one in values(report, "review-reason", "ConceptCodeSequence")
    ]
    assert len(meanings) == 4, "of the job and of its field alike"
    assert meanings[:2] == meanings[2:]


def test_one_field_is_called_as_it_ever_was() -> None:
    report = read(finished(), [source(0)])
    explained = [ENGLISH.reasons[code] for code in ("low_confidence", "subtype_uncertain")]
    assert values(report, "review-reason", "TextValue") == explained
    assert values(report, "112039", "TextValue") == ["job", "field 0"]


def test_a_group_of_a_field_keeps_its_uid_whatever_it_is_called() -> None:
    uids = values(read(finished(URGENT, DOUBTFUL), [source(0)]), "112040", "UID")
    assert uids == [
        f"2.25.{identity(finished(), name).int}" for name in ("job", "field 0", "field 1")
    ]


@pytest.mark.parametrize("code", REASONS_THAT_ARE_LONG)
def test_the_meaning_of_a_code_is_never_half_a_sentence(code: str) -> None:
    job = finished(CLEAR)
    assert job.result is not None
    text = ENGLISH.reasons[code]
    doubted = {"reasons": [code], "reason_texts": [text]}
    report = read(replace(job, result={**job.result, **doubted}), [source(0)])
    meanings = {
        item.ConceptCodeSequence[0].CodeMeaning
        for item in items(report)
        if name_of(item) == "review-reason" and item.ValueType == "CODE"
    }
    assert meanings == {code.replace("_", " ")}
    assert text in values(report, "review-reason", "TextValue")[-1:]


def test_the_same_job_gives_the_same_file_and_another_job_other_uids() -> None:
    assert structured_report(finished(), [source(0)]) == structured_report(finished(), [source(0)])
    first = read(finished(), [source(0)])
    other = read(finished(id=uuid.uuid4()), [source(0)])
    for name in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert first[name].value != other[name].value
        assert first[name].value.startswith("2.25.")
    assert first.SeriesInstanceUID != first.SOPInstanceUID


def test_an_image_that_was_no_dicom_has_a_group_without_a_reference() -> None:
    report = read(finished(DOUBTFUL, CLEAR), [source(1)])
    groups = [item for item in items(report) if name_of(item) == "125007"]
    counts = [sum(one.ValueType == "IMAGE" for one in items(group)) for group in groups]
    assert counts == [1, 0, 1]


def test_a_job_without_dicom_images_has_no_report() -> None:
    with pytest.raises(NoDicomSourceError) as refused:
        structured_report(finished(), [])
    assert (refused.value.code, refused.value.http_status) == ("no_dicom_source", 406)


def test_a_job_without_a_result_has_no_report() -> None:
    with pytest.raises(NoResultError):
        structured_report(finished(result=None), [source(0)])


@pytest.mark.parametrize("kind", [MICROSCOPIC, MULTI_FRAME])
def test_dcmtk_reads_it(kind: str, tmp_path: Path) -> None:
    dsrdump = shutil.which("dsrdump")
    if dsrdump is None:
        pytest.skip("dsrdump of dcmtk is not installed")
    path = tmp_path / "report.dcm"
    path.write_bytes(structured_report(finished(), [source(0, sop_class_uid=kind)]))
    done = subprocess.run([dsrdump, "+Pl", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert ENGLISH.disclaimer in done.stdout
    assert "PRELIMINARY" in done.stdout
