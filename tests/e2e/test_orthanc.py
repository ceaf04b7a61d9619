"""A real archive sends its images here by C-STORE, and finds the reports in its studies."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import ComprehensiveSRStorage
from sqlalchemy import create_engine, text

from shared.db.models import Base
from shared.local.ports import HOST, free_ports
from shared.local.service import LocalService
from shared.local.synthetic import draw_smear
from tests import dicom, orthanc
from tests.orthanc import Orthanc
from tests.waiting import eventually

MICROSCOPE = "MICROSCOPE"
PATIENT_NAME = "Synthetic^Person"

pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.slow,
    pytest.mark.skipif(bool(orthanc.missing()), reason=orthanc.missing()),
]


@dataclass(frozen=True)
class Hospital:
    """Two archives that both send images here; reports reach one by STOW-RS, one by C-STORE."""

    service: LocalService
    folder: Path
    gateway_port: int
    archives: dict[str, Orthanc]

    def jobs(self) -> int:
        """How many jobs there are."""
        return len(self.rows("jobs"))

    def rows(self, *tables: str) -> list[str]:
        """The rows of tables, each as PostgreSQL writes it."""
        engine = create_engine(self.service.environment()["HEMOTRIAGE_DATABASE_URL"])
        try:
            with engine.connect() as connection:
                queries = [text(f"SELECT t::text FROM {table} t") for table in tables]
                return [row for query in queries for row in connection.scalars(query)]
        finally:
            engine.dispose()


@pytest.fixture(scope="module")
def hospital(service_folder: Path) -> Iterator[Hospital]:
    (port,) = free_ports(1)
    folder = service_folder / "hospital"
    with (
        Orthanc(service_folder / "orthanc-stow", port) as by_stow,
        Orthanc(service_folder / "orthanc-store", port) as by_store,
    ):
        destinations = [
            f"stow+{by_stow.url}/dicom-web",
            f"dicom://{orthanc.TITLE}@{HOST}:{by_store.dicom_port}",
        ]
        settings = {
            "HEMOTRIAGE_API_PORT": str(free_ports(1)[0]),
            "HEMOTRIAGE_DICOM_PORT": str(port),
            "HEMOTRIAGE_DICOM_CALLING_AES": f"{orthanc.TITLE}@{HOST},{MICROSCOPE}@{HOST}",
            "HEMOTRIAGE_PSEUDONYM_SECRET": dicom.SECRET,
            "HEMOTRIAGE_RESULT_DESTINATIONS": ",".join(destinations),
        }
        with LocalService(folder, settings=settings) as service:
            eventually(by_stow.reaches_gateway)
            yield Hospital(service, folder, port, {"stow": by_stow, "store": by_store})


@pytest.fixture(params=["stow", "store"])
def archive(hospital: Hospital, request: pytest.FixtureRequest) -> Orthanc:
    return hospital.archives[request.param]


def drawn(seed: int) -> Dataset:
    return dicom.dataset(draw_smear(seed), PatientName=PATIENT_NAME)


def reports(archive: Orthanc, image: Dataset, patient: str = dicom.PATIENT_ID) -> list[str]:
    study = str(image.StudyInstanceUID)
    return archive.find(
        StudyInstanceUID=study, PatientID=patient, SOPClassUID=ComprehensiveSRStorage
    )


def read_report(archive: Orthanc, image: Dataset, patient: str = dicom.PATIENT_ID) -> Dataset:
    """The one report of the study of an image, once it is there."""
    eventually(lambda: reports(archive, image, patient))
    (instance,) = reports(archive, image, patient)
    return dcmread(io.BytesIO(archive.file(instance)))


def evidence(report: Dataset) -> list[str]:
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    assert study.StudyInstanceUID == report.StudyInstanceUID
    (series,) = study.ReferencedSeriesSequence
    return [item.ReferencedSOPInstanceUID for item in series.ReferencedSOPSequence]


def sendings(archive: Orthanc, state: str | None = None) -> dict[str, str]:
    """What the archive sent to the gateway, or tried to: its job by the instance."""
    jobs = archive.http.get("/jobs?expand").raise_for_status().json()
    return {
        instance: job["ID"]
        for job in jobs
        if job["Type"] == "DicomModalityStore" and state in (None, job["State"])
        for instance in job["Content"]["ParentResources"]
    }


def test_an_image_of_the_archive_gets_its_report_in_the_same_study(archive: Orthanc) -> None:
    image = drawn(1)
    archive.store(dicom.file_of(image))
    report = read_report(archive, image)
    assert report.Modality == "SR"
    assert (report.PatientName, report.PatientID) == (PATIENT_NAME, dicom.PATIENT_ID)
    assert evidence(report) == [image.SOPInstanceUID]
    headers = {"Accept": "application/dicom+json"}
    answer = archive.http.get(
        f"/dicom-web/studies/{image.StudyInstanceUID}/series", headers=headers
    ).raise_for_status()
    series = {one["0020000E"]["Value"][0] for one in answer.json()}
    assert series == {image.SeriesInstanceUID, report.SeriesInstanceUID}
    query = {"Level": "Study", "Query": {"StudyInstanceUID": str(image.StudyInstanceUID)}}
    # Until the script has removed it, the report as it came is a study of another patient.
    eventually(lambda: len(archive.http.post("/tools/find", json=query).json()) == 1)


def test_no_name_and_no_number_of_a_patient_is_kept_here(hospital: Hospital) -> None:
    archive, image = hospital.archives["store"], drawn(2)
    archive.store(dicom.file_of(image))
    read_report(archive, image)
    rows = hospital.rows(*(table.name for table in Base.metadata.sorted_tables))
    assert any(image.SOPInstanceUID in row for row in rows)
    assert "pn-" in "".join(hospital.rows("jobs"))
    words = [PATIENT_NAME, dicom.PATIENT_ID, dicom.ISSUER]
    assert [row for row in rows if any(word in row for word in words)] == []
    # Logs, tables and objects; the image's UID shows that what is kept can be found so.
    found = words_in_files(hospital.folder, [*words, str(image.SOPInstanceUID)])
    assert found == {image.SOPInstanceUID}


def words_in_files(folder: Path, words: list[str]) -> set[str]:
    found: set[str] = set()
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # servers remove files of their own
            data = path.read_bytes() if path.is_file() else b""
            found |= {word for word in words if word.encode() in data}
    return found


def test_a_report_is_not_sent_back_and_would_not_be_taken(
    hospital: Hospital, archive: Orthanc
) -> None:
    before = sendings(archive).keys()
    images = [drawn(3), drawn(4)]
    stored = set()
    for image in images:  # one by one: the archive's script is done with a report before the next
        stored.add(archive.store(dicom.file_of(image)))
        read_report(archive, image)
    assert sendings(archive).keys() - before == stored
    jobs = hospital.jobs()
    (report,) = reports(archive, images[0])
    answer = archive.http.post("/modalities/hemotriage/store", content=report)
    assert answer.is_error
    assert archive.reaches_gateway()
    assert hospital.jobs() == jobs


def test_an_image_that_came_while_no_gateway_ran_is_sent_again(
    hospital: Hospital, archive: Orthanc
) -> None:
    gateway, image = hospital.service.applications["gateway"], drawn(5)
    gateway.stop()
    stored = archive.store(dicom.file_of(image))
    eventually(lambda: stored in sendings(archive, "Failure"))
    gateway.start()
    eventually(archive.reaches_gateway)
    job = sendings(archive)[stored]
    archive.http.post(f"/jobs/{job}/resubmit", content="").raise_for_status()
    assert evidence(read_report(archive, image)) == [image.SOPInstanceUID]


@pytest.mark.skipif(shutil.which("storescu") is None, reason="dcmtk is not installed")
def test_dcmtk_sends_an_image_and_finds_and_reads_its_report(
    hospital: Hospital, tmp_path: Path
) -> None:
    archive, image = hospital.archives["store"], drawn(6)
    path = tmp_path / "field.dcm"
    path.write_bytes(dicom.file_of(image))
    peer = [HOST, str(hospital.gateway_port)]
    send = ["storescu", "-aet", MICROSCOPE, "-aec", "HEMOTRIAGE", *peer, str(path)]
    subprocess.run(send, check=True, timeout=60)
    # The archive has no image that would tell whose report this is.
    report = read_report(archive, image, "pn-*")
    keys = ["QueryRetrieveLevel=SERIES", f"StudyInstanceUID={image.StudyInstanceUID}"]
    keys += ["Modality=SR", "SeriesInstanceUID"]
    query = [word for key in keys for word in ("-k", key)]
    names = ["-aet", orthanc.VIEWER, "-aec", orthanc.TITLE, HOST, str(archive.dicom_port)]
    found = said_by("findscu", "-v", "-S", *query, *names)
    assert report.SeriesInstanceUID in found
    path.write_bytes(dicom.file_of(report))
    read = said_by("dsrdump", str(path))
    assert "Imaging Measurement Report" in read
    assert image.SOPInstanceUID in said_by("dsrdump", "+Pu", str(path))
    assert subprocess.run(send, check=False, timeout=60).returncode != 0, "it takes no reports"


def said_by(*command: str) -> str:
    done = subprocess.run(command, check=True, timeout=60, capture_output=True, text=True)
    return done.stdout + done.stderr
