"""The logs of a running service: JSON to the last line, with one request id for a job."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from typing import Any

import httpx

from shared.local.service import APPLICATIONS, LocalService
from shared.local.synthetic import SYNTHETIC_SMEAR
from shared.settings import PROJECT_ROOT
from tests.canaries import ACCESSION, BIRTH_DATE
from tests.waiting import eventually

ALWAYS = {"at", "level", "logger", "message", "service"}

FAILING = """
import logging
import threading
import warnings

from shared.logging import configure_logging

configure_logging("INFO", service="tests")
warnings.warn("of {said}")
logging.getLogger("a.library").warning("more\\nthan one line")
thread = threading.Thread(target=lambda: int("{said}"))
thread.start()
thread.join()
class Falling:
    def __del__(self):
        raise ValueError("{said}")
Falling()
try:
    int("{said}")
except ValueError:
    logging.getLogger("shared").exception("caught")
raise KeyError("{said}")
"""


def lines_of(service: LocalService, name: str) -> list[dict[str, Any]]:
    """All lines of a process's log; each must be one whole JSON object."""
    lines = [
        json.loads(line)
        for line in service.applications[name].spec.log.read_text().splitlines(keepends=True)
        if line.endswith("\n")
    ]
    for line in lines:
        assert line.keys() >= ALWAYS, line
    return lines


def test_a_request_id_is_in_the_lines_of_every_process_that_has_the_job(
    service: LocalService,
) -> None:
    service.ensure_alive()
    headers = {"Authorization": f"Bearer {service.api_key}", "X-Request-Id": "from-the-lis.17"}
    with httpx.Client(base_url=service.url, headers=headers, trust_env=False, timeout=60) as http:
        with SYNTHETIC_SMEAR.open("rb") as image:
            form = {"accession_number": ACCESSION, "priority": "urgent"}
            posted = http.post("/v1/jobs", files={"image": ("a", image)}, data=form).json()
        job_id = posted["id"]
        shown: dict[str, Any] = {}
        eventually(
            lambda: (
                shown.update(http.get(f"/v1/jobs/{job_id}?wait=20").json())
                or shown["status"] == "succeeded"
            ),
            60,
        )
        assert shown["request_id"] == "from-the-lis.17"
        explained = http.get(posted["links"]["explanations"][0], params={"wait": 30})
        assert explained.status_code in (200, 202)
        events = http.get("/v1/audit", params={"job_id": job_id, "action": "job.submitted"}).json()
        assert events["events"][0]["details"] == {"request_id": "from-the-lis.17"}

    def said(name: str) -> set[str]:
        about = {"job_id": job_id, "request_id": "from-the-lis.17"}
        return {
            each["message"] for each in lines_of(service, name) if about.items() <= each.items()
        }

    eventually(lambda: said("explainer") >= {"explained"}, 60)
    assert said("api") >= {"job accepted", "job announced", "request"}
    assert said("worker") >= {"job claimed", "attempt ended"}


def test_every_line_of_every_process_is_one_json_object(service: LocalService) -> None:
    service.ensure_alive()
    stopped = service.applications["worker-stat"]
    stopped.restart()
    services = {line["service"] for name in APPLICATIONS for line in lines_of(service, name)}
    assert services >= {"api", "worker"}


def test_the_api_starts_without_a_warning_of_a_library(service: LocalService) -> None:
    """Such as gevent's where all is patched a second time, the locks of logging too."""
    service.ensure_alive()
    service.applications["api"].restart()
    warned = [line for line in lines_of(service, "api") if line["message"] == "warning"]
    assert warned == []


def test_what_nobody_catches_is_one_json_object_that_tells_of_no_patient() -> None:
    program = textwrap.dedent(FAILING).replace("{said}", f"born {BIRTH_DATE}")
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=PROJECT_ROOT,
        env={},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert all(line.keys() >= ALWAYS for line in lines)
    assert [line["message"] for line in lines] == [
        *("warning", "more\nthan one line", "uncaught error"),
        *("unraisable error", "caught", "uncaught error"),
    ]
    assert BIRTH_DATE not in done.stderr
    assert lines[-1]["exc_info"].endswith("KeyError\n")
    assert "Thread" in lines[2]["in_thread"]
