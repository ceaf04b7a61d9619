"""A process that decodes images does not keep their memory."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import psutil
from shared.memory import return_large_blocks

if {settled}:
    return_large_blocks()
largest = bytearray(b"x" * 24 * 1024**2)
del largest
before = psutil.Process().memory_info().rss
image = bytearray(b"x" * 12 * 1024**2)
del image
print(psutil.Process().memory_info().rss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it is glibc that keeps it")
@pytest.mark.parametrize(("settled", "keeps"), [(True, False), (False, True)])
def test_the_memory_of_a_freed_image_goes_back(*, settled: bool, keeps: bool) -> None:
    command = [sys.executable, "-c", SCRIPT.format(settled=settled)]
    kept = int(subprocess.run(command, capture_output=True, check=True).stdout)
    assert (kept > 8 * 1024**2) is keeps, f"{kept} bytes are kept"
