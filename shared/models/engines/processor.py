"""What this machine's processor computes."""

from __future__ import annotations

from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_SUMS_INT8 = frozenset({"avx512_vnni", "avx_vnni", "amx_int8"})


def sums_int8_exactly(cpuinfo: Path = _CPUINFO) -> bool:
    """Whether products of 8-bit integers are summed in 32 bits; False where nobody says so.

    Without the instructions for it (Intel's VNNI) OpenVINO sums pairs in 16 bits, which overflow
    without a word (`vpmaddubsw`, Intel SDM volume 2): the same int8 graph gives other
    probabilities, for which its verdict does not hold.

    Args:
        cpuinfo: As Linux has it for x86.
    """
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return False
    flags = {flag for line in lines if line.startswith("flags") for flag in line.split()}
    return bool(flags & _SUMS_INT8)
