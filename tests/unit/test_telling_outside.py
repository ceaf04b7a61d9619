"""No process of ours tells a library's makers of its use."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IMPORT = re.compile(r"^\s*(?:import|from) (?:openvino|nncf)\b", re.MULTILINE)

# What is sent is sent from a thread.
PROGRAM = """
import importlib, sys, threading
importlib.import_module(sys.argv[1])
import openvino.tools.ovc.telemetry_utils as ovc
from openvino.tools.ovc import telemetry_stub
assert ovc.tm is telemetry_stub, ovc.tm
senders = [one.name for one in threading.enumerate() if one is not threading.main_thread()]
assert not senders, senders
if "nncf" in sys.modules:
    from nncf.telemetry import wrapper
    assert type(wrapper.telemetry).__name__ == "MagicMock"
"""


def modules() -> list[str]:
    """Ours that import a library which tells."""
    files = [file for folder in ("services", "shared") for file in (ROOT / folder).rglob("*.py")]
    found = [file for file in files if IMPORT.search(file.read_text())]
    return sorted(".".join(file.relative_to(ROOT).with_suffix("").parts) for file in found)


def test_the_modules_in_question_are_found() -> None:
    assert {"services.trainer.quantise", "shared.models.engines.openvino_engine"} <= {*modules()}


@pytest.mark.parametrize("module", modules())
def test_importing_it_tells_nobody(module: str) -> None:
    """In a process of its own: in another, something else may have come first."""
    command = [sys.executable, "-c", PROGRAM, module]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
