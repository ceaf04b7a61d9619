"""Int8 runs where its sums are exact, and nowhere else: its verdicts hold for such sums alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shared.models.engines import openvino_engine, supported_precisions
from shared.models.engines.processor import sums_int8_exactly

_FLAGS = "flags\t\t: fpu avx2 avx512f avx512bw{more}\n"

_ERROR_OF_INT8 = """
import numpy as np
from shared.imaging.decode import to_model_input
from shared.local.synthetic import draw_smear
from shared.models.engines.openvino_engine import OpenVINOEngine
from shared.models.registry import ModelRegistry
from shared.settings import PROJECT_ROOT
version = ModelRegistry(PROJECT_ROOT / "models").get("student", 1)
images = np.stack([to_model_input(draw_smear(seed)) for seed in range(16)])
full, lower = (
    OpenVINOEngine(version, precision=p).predict(images).features for p in ("f32", "int8")
)
print(np.abs(full - lower).max())
"""


def error_of_int8(**environment: str) -> float:
    """How far features of one int8 graph lie from those of float32, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", _ERROR_OF_INT8],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.split()[-1])


@pytest.mark.skipif(not sums_int8_exactly(), reason="this processor does not sum int8 exactly")
def test_the_same_graph_gives_other_numbers_where_the_instructions_are_not_used() -> None:
    """oneDNN, whom OpenVINO computes by, may be told to leave them: that is an older processor."""
    exact, overflowing = (
        error_of_int8(),
        error_of_int8(ONEDNN_MAX_CPU_ISA="AVX512_CORE"),
    )
    assert overflowing > 2 * exact


@pytest.mark.parametrize("flag", ["avx512_vnni", "avx_vnni", "amx_int8"])
def test_a_processor_that_sums_in_32_bits_says_so(flag: str, tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\n" + _FLAGS.format(more=f" {flag}"))
    assert sums_int8_exactly(cpuinfo)


def test_a_processor_without_the_instructions_or_unknown_does_not(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(_FLAGS.format(more="") + "Features\t: asimd avx512_vnni\n")
    assert not sums_int8_exactly(cpuinfo)
    assert not sums_int8_exactly(tmp_path / "absent")


def test_int8_is_offered_where_its_sums_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    for is_exact in (True, False):
        monkeypatch.setattr(openvino_engine, "sums_int8_exactly", lambda found=is_exact: found)
        found = supported_precisions("openvino")
        assert ("int8" in found) is is_exact
        assert "f32" in found
