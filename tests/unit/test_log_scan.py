"""The scan of the logs finds what is planted, and fails a run for it."""

from __future__ import annotations

import ast
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.local.process import LocalProcess, ProcessSpec
from shared.settings import PROJECT_ROOT
from tests import canaries
from tests.canaries import PATIENT_SHAPES, SECRET_SHAPES, found_in
from tests.log_scan import LogScan

PLANTED = {
    "a patient's name": canaries.PATIENT_NAME,
    "a patient's id": canaries.PATIENT_ID,
    "a birth date": canaries.BIRTH_DATE,
    "an accession number": canaries.ACCESSION,
    "a file's name": canaries.FILE_NAME,
    "an API key": "ht_0123456789ab_c2VjcmV0LW9mLW5vYm9keQ",
    "a token": "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJub2JvZHkifQ.c2lnbmVk",
    "a secret of webhooks": "whsec_" + "Zm9v" * 8,
    "an address with a password": "redis://:nobody-guesses@127.0.0.1:1/0",
    "an authorization": "Bearer nobody-knows-this",
    "a secret of tests": "a-secret-of-tests-that-is-long-enough",
}
# What a test says of a patient, by keyword argument or by assignment to an attribute.
OF_PATIENTS = {
    "accession_number",
    "accession",
    "patient_ref",
    "AccessionNumber",
    "PatientID",
    "PatientName",
    "PatientBirthDate",
}
WHOLE = re.compile(r"[!-)+-~]{4,}")  # no wildcard, nothing that is refused for its characters

SCANNED = "from tests.log_scan import log_scan, pytest_runtest_logreport"
FAILING = """
import logging

def test_one(): pass
def test_two():
    logging.getLogger("shared.jobs").info("job accepted", extra={"said": "{said}"})
def test_three(): pass
"""


def test_every_kind_has_something_planted() -> None:
    assert PLANTED.keys() == PATIENT_SHAPES.keys() | SECRET_SHAPES.keys()


@pytest.mark.parametrize("kind", PLANTED)
def test_what_is_planted_in_a_line_is_found(kind: str) -> None:
    scan = LogScan()
    scan.look_at("api.log", json.dumps({"logger": "x", "message": f"of {PLANTED[kind]} once"}))
    assert kind in [finding.split(": ")[1] for finding in scan.findings]
    with pytest.raises(AssertionError, match=r"api\.log"):
        scan.judge()


def test_the_log_of_a_process_is_read_to_its_end_though_it_was_removed(tmp_path: Path) -> None:
    log = tmp_path / "p.log"
    with log.open("w") as written:
        scan = LogScan()
        scan.follow(log)
        log.unlink()
        written.write(f"ended for {canaries.PATIENT_REF}\n")
    scan.read_followed()
    assert [finding.split(": ")[1] for finding in scan.findings] == ["a patient's id"]


def test_the_passwords_of_a_process_are_looked_for(tmp_path: Path) -> None:
    scan = LogScan()
    scan.keep_secret(
        {
            "HEMOTRIAGE_DATABASE_URL": "postgresql+psycopg2://u:first-password@h/d",
            "HEMOTRIAGE_S3_SECRET_KEY": "second-password",
            "HEMOTRIAGE_LOG_LEVEL": "INFO-and-no-secret",
        }
    )
    for said in ("first-password", "second-password", "INFO-and-no-secret"):
        scan.look_at("x.log", f"with {said}")
    assert len(scan.findings) == 2


def test_a_process_of_the_local_service_is_followed(log_scan: LogScan, tmp_path: Path) -> None:
    before = set(log_scan.followed)
    program = [sys.executable, "-c", "print('started')"]
    process = LocalProcess(ProcessSpec("said", program, tmp_path / "said.log"))
    process.start()
    process.kill()
    assert [*set(log_scan.followed) - before] == ["said.log"]


def test_what_the_children_of_a_trainer_print_is_read(tmp_path: Path) -> None:
    scan = LogScan()
    scan.follow_children(tmp_path / "none")
    scan.follow_children(tmp_path)
    log = tmp_path / "runs" / "1" / "child.log"
    log.parent.mkdir(parents=True)
    log.write_text(f"Traceback\nof {PLANTED['a token']}\n")
    with pytest.raises(AssertionError, match=r"child\.log: a token"):
        scan.judge()


def test_log_lines_on_the_standard_error_of_a_command_are_looked_at(log_scan: LogScan) -> None:
    before = log_scan.lines
    line = json.dumps({"logger": "shared", "message": "said"})
    command = [sys.executable, "-c", f"import sys; print('''{line}''', file=sys.stderr)"]
    subprocess.run(command, capture_output=True, check=True)
    assert log_scan.lines == before + 1


def test_what_this_process_logs_is_looked_at(log_scan: LogScan) -> None:
    before = log_scan.lines
    logging.getLogger("services.tests").info("said")
    assert log_scan.lines == before + 1


@pytest.mark.parametrize(
    "said",
    [
        canaries.PATIENT_NAME,
        pytest.param("nothing", marks=[pytest.mark.exhaustive, pytest.mark.slow]),
    ],
)
def test_a_run_in_several_processes_fails_for_one_line(tmp_path: Path, said: str) -> None:
    (tmp_path / "conftest.py").write_text(SCANNED)
    (tmp_path / "test_it.py").write_text(FAILING.replace("{said}", said))
    command = [sys.executable, "-m", "pytest", "-q", "-pxdist", "-n2", "-pno:cacheprovider"]
    options = ["--rootdir", str(tmp_path), "-c", "/dev/null", str(tmp_path)]
    done = subprocess.run(
        [*command, *options],
        cwd=PROJECT_ROOT,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert "3 passed" in done.stdout
    is_clean = said == "nothing"
    assert done.returncode == (0 if is_clean else 1)
    assert ("lines of logs tell too much" in done.stdout) is not is_clean


def said_of_patients() -> Iterator[tuple[str, str]]:
    for path in sorted((PROJECT_ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            pairs: list[tuple[str, ast.expr]] = []
            if isinstance(node, ast.Call):
                pairs = [(word.arg or "", word.value) for word in node.keywords]
            elif isinstance(node, ast.Dict):
                keys = [key.value if isinstance(key, ast.Constant) else "" for key in node.keys]
                pairs = list(zip(map(str, keys), node.values, strict=True))
            for name, value in pairs:
                if name in OF_PATIENTS and isinstance(value, ast.Constant) and value.value:
                    yield f"{path.name}:{node.lineno}", str(value.value)


def test_whatever_tests_say_of_patients_would_be_found() -> None:
    unknown = [
        (where, value)
        for where, value in said_of_patients()
        if WHOLE.fullmatch(value) and not found_in(value, PATIENT_SHAPES)
    ]
    assert unknown == []
