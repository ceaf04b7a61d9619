"""The complete examples of the documentation run as they stand there."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import hl7
import pytest
from PIL import Image

from shared.client import Client
from shared.local.ports import HOST, free_ports
from shared.local.service import LocalService
from shared.local.synthetic import draw_smear
from shared.settings import PROJECT_ROOT
from shared.webhooks.signature import new_secret
from tests import dicom
from tests.receiver import SECRET

DOCS = PROJECT_ROOT / "docs"
DICOM_PORT, LIS_PORT, ORDERS_PORT, WEBHOOK_PORT = "11112", "2575", "2576", "8081"
"""As the documentation has them."""

PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

_LIMIT_SECONDS = 120

Run = Callable[..., str]

pytestmark = [pytest.mark.exhaustive, pytest.mark.slow]


def needs(*programs: str) -> pytest.MarkDecorator:
    absent = [name for name in programs if shutil.which(name, path=PATH) is None]
    return pytest.mark.skipif(bool(absent), reason=f"not installed: {', '.join(absent)}")


def code_of(page: str, language: str, heading: str = "") -> str:
    """The code blocks of a page in one language, from a heading on, as one program."""
    text = (DOCS / page).read_text()
    start = text.index(f"\n{heading}\n") if heading else 0
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", text[start:], re.DOTALL))


@pytest.fixture(scope="module")
def ports() -> dict[str, str]:
    """Free ports of this machine, for those of the documentation."""
    told = (DICOM_PORT, LIS_PORT, ORDERS_PORT, WEBHOOK_PORT)
    return dict(zip(told, map(str, free_ports(len(told))), strict=True))


@pytest.fixture(scope="module")
def hospital(service_folder: Path, ports: dict[str, str]) -> Iterator[LocalService]:
    settings = {
        "HEMOTRIAGE_API_PORT": str(free_ports(1)[0]),
        "HEMOTRIAGE_DICOM_PORT": ports[DICOM_PORT],
        "HEMOTRIAGE_DICOM_CALLING_AES": "SCOPE1",
        "HEMOTRIAGE_HL7_PORT": ports[ORDERS_PORT],
        "HEMOTRIAGE_HL7_ALLOWED_HOSTS": HOST,
        "HEMOTRIAGE_PSEUDONYM_SECRET": dicom.SECRET,
        "HEMOTRIAGE_RESULT_DESTINATIONS": f"mllp://{HOST}:{ports[LIS_PORT]}",
        "HEMOTRIAGE_WEBHOOK_ALLOWED_HOSTS": HOST,
        "HEMOTRIAGE_WEBHOOK_SECRET": SECRET,
        "HEMOTRIAGE_WEBHOOK_RETRY_SECONDS": "0.5",
    }
    with LocalService(service_folder / "examples", settings=settings) as running:
        yield running


@pytest.fixture
def run(hospital: LocalService, ports: dict[str, str], tmp_path: Path) -> Run:
    """Runs a program in a folder with two fields of a specimen and the files of the examples."""
    hospital.ensure_alive()
    for example in (DOCS / "examples").glob("*.py"):
        shutil.copy(example, tmp_path)
    for seed in (1, 2):
        field(seed).save(tmp_path / f"field-{seed}.png")
    environment = {
        **os.environ,
        **hospital.environment(),
        "PATH": PATH,
        "PYTHONPATH": str(PROJECT_ROOT),
        "URL": hospital.url,
        "KEY": hospital.api_key,
        "HEMOTRIAGE_URL": hospital.url,
        "HEMOTRIAGE_API_KEY": hospital.api_key,
        "no_proxy": HOST,
        "HEMOTRIAGE_WEBHOOK_SECRET": new_secret(),  # a receiver is given the service's own
    }

    def run_program(*command: str, program: str) -> str:
        program = program.replace("http://127.0.0.1:8000", hospital.url)
        program = program.replace("whsec_...", SECRET)
        for told, port in ports.items():
            program = program.replace(told, port)
        running = subprocess.Popen(
            [*command, program],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            shown, _ = running.communicate(timeout=_LIMIT_SECONDS)
        finally:
            with suppress(ProcessLookupError):  # listeners of an example that did not end
                os.killpg(running.pid, signal.SIGKILL)
        assert running.returncode == 0, shown
        return shown

    return run_program


def field(seed: int = 1) -> Image.Image:
    return draw_smear(seed, red_cells=15, nucleated_cells=5)


@needs("bash", "curl", "jq")
def test_plain_http_leads_from_a_key_to_a_result(run: Run, tmp_path: Path) -> None:
    shown = run("bash", "-euo", "pipefail", "-c", program=code_of("http.md", "bash"))
    for told in (
        '"requires_review": ',
        "idempotency_key_reused",
        "DiagnosticReport",
        "OBR|1|ACC-2026-17",
        "job.succeeded",
        "unsupported_media_type",
        "refused",
    ):
        assert told in shown
    assert (tmp_path / "why.png").read_bytes().startswith(b"\x89PNG")


def test_the_client_leads_from_an_order_to_a_result(run: Run, tmp_path: Path) -> None:
    shown = run(sys.executable, "-c", program=code_of("http.md", "python"))
    assert shown.split()[0] in ("urgent", "priority", "review", "routine")
    message = hl7.parse((tmp_path / "result.hl7").read_bytes().decode())
    assert str(message.segment("OBR")[2]) == "ACC-2026-18"


@needs("bash", "curl", "jq", "storescu", "dsrdump")
def test_an_image_of_a_pacs_gets_its_report(run: Run, tmp_path: Path) -> None:
    (tmp_path / "field.dcm").write_bytes(dicom.dicom_bytes(field()))
    program = code_of("pacs.md", "bash", "## A complete example")
    shown = run("bash", "-euo", "pipefail", "-c", program=program)
    assert "Comprehensive SR Document" in shown
    assert "decision support" in shown


@needs("bash", "curl", "mllp_send")
def test_a_lis_gets_the_result_of_its_order(
    run: Run, hospital: LocalService, tmp_path: Path
) -> None:
    program = code_of("lis.md", "bash", "## A complete example")
    shown = run("bash", "-euo", "pipefail", "-c", program=program)
    assert "MSA|AA|MSG-1" in shown
    assert "PID|1||pn-" in shown
    messages = [
        hl7.parse(text.replace("\n", "\r"))
        for text in re.split(r"(?m)^(?=MSH)", (tmp_path / "received.hl7").read_text())
        if "ACC-2026-19" in text
    ]
    assert {str(message.segment("ORC")[2]).split("^")[0] for message in messages} == {"ACC-2026-19"}
    with Client(hospital.url, hospital.api_key) as client:
        (job,) = client.jobs(accession_number="ACC-2026-19").jobs
    assert job.priority == "stat"
