"""Runs an Orthanc of its own, configured as `docs/pacs.md` says."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import httpx

from shared.local.lifecycle import Startable
from shared.local.ports import HOST, free_ports
from shared.local.process import LocalProcess, ProcessSpec
from shared.settings import PROJECT_ROOT

PAGE = PROJECT_ROOT / "docs" / "pacs.md"
TITLE, VIEWER = "ORTHANC", "VIEWER"

# Debian puts it where only an administrator's shell looks.
_PROGRAM = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin")


def missing() -> str:
    """Why no Orthanc can run here; empty where one can."""
    if _PROGRAM is None:
        return "Orthanc is not installed"
    absent = [path for path in _configured()["Plugins"] if not Path(path).is_file()]
    return f"not installed: {absent[0]}" if absent else ""


class Orthanc(Startable):
    """An archive on free ports of this machine, with DICOMweb; what it keeps is under one folder.

    Use it from the main thread.
    """

    def __init__(self, root: Path, gateway_port: int, user: tuple[str, str] | None = None) -> None:
        """Prepare an archive that sends to the gateway on a port of this machine.

        With a user and password it answers no other.
        """
        self._root = root
        self._user = user
        self._gateway_port = gateway_port
        self.dicom_port, http_port = free_ports(2)
        self.url = f"http://{HOST}:{http_port}"
        self.http = httpx.Client(base_url=self.url, trust_env=False, timeout=30, auth=user)
        self._process = LocalProcess(
            ProcessSpec(
                name="orthanc",
                command=[str(_PROGRAM), str(root / "orthanc.json")],
                log=root / "orthanc.log",
                is_ready=self._answers,
                prepare=lambda: self._write(http_port),
            )
        )

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._process.start()
        try:
            self._process.wait_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it."""
        self._process.stop()
        self.http.close()

    def store(self, file: bytes) -> str:
        """Put a DICOM file into it; returns Orthanc's id of the instance."""
        answer = self.http.post("/instances", content=file).raise_for_status()
        return str(answer.json()["ID"])

    def find(self, **query: str) -> list[str]:
        """Orthanc's ids of the instances with these attributes."""
        wanted = {"Level": "Instance", "Query": query}
        answer = self.http.post("/tools/find", json=wanted).raise_for_status()
        found: list[str] = answer.json()
        return found

    def file(self, instance: str) -> bytes:
        """An instance as it is stored."""
        return self.http.get(f"/instances/{instance}/file").raise_for_status().content

    def reaches_gateway(self) -> bool:
        """Whether the gateway answers a C-ECHO."""
        return self.http.post("/modalities/hemotriage/echo", json={}).is_success

    def _answers(self) -> bool:
        try:
            return self.http.get("/system").is_success
        except httpx.HTTPError:
            return False

    def _write(self, http_port: int) -> None:
        """Write the page's files, with this machine's ports and folders."""
        self._root.mkdir(parents=True, exist_ok=True)
        script = self._root / "hemotriage.lua"
        script.write_text(_of_page("lua"))
        configuration = _configured()
        configuration["DicomModalities"]["hemotriage"].update(Host=HOST, Port=self._gateway_port)
        # Only those it knows may look for anything.
        configuration["DicomModalities"]["viewer"] = [VIEWER, HOST, 104]
        configuration |= {
            "DicomPort": self.dicom_port,
            "HttpPort": http_port,
            "LuaScripts": [str(script)],
            "StorageDirectory": str(self._root / "storage"),
            "IndexDirectory": str(self._root / "storage"),
            "AuthenticationEnabled": self._user is not None,
            "RegisteredUsers": dict([self._user] if self._user else []),
        }
        (self._root / "orthanc.json").write_text(json.dumps(configuration))


def _configured() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_of_page("json"))
    return found


def _of_page(language: str) -> str:
    """The block of a language in the section on Orthanc."""
    section = PAGE.read_text().split("\n## With Orthanc\n")[1]
    found = re.search(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]
