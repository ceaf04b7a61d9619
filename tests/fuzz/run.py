"""Fuzzes targets one after the other, each in a child that may crash, hang or grow."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from shared.settings import PROJECT_ROOT
from tests.fuzz.targets import TARGETS

FINDINGS = PROJECT_ROOT / "var" / "fuzz"
"""Inputs that ended a child, in a folder a target, and the corpus that it has grown."""

ONE_INPUT_SECONDS = 10
MEMORY_MIB = 2048
LONGEST_INPUT_BYTES = 64 * 1024

_RUNS = re.compile(r"^stat::number_of_executed_units: *(\d+)", re.MULTILINE)

_NOISE = re.compile(r"^INFO: Instrumenting .*\n", re.MULTILINE)


@dataclass(frozen=True)
class Fuzzed:
    """What came of fuzzing one target."""

    name: str
    runs: int
    crashes: tuple[Path, ...]
    said: str

    @property
    def failed(self) -> bool:
        """Whether there is anything to mend, a harness that did not start included."""
        return bool(self.crashes) or self.runs == 0


def fuzz(name: str, *, seconds: int, folder: Path = FINDINGS) -> Fuzzed:
    """Fuzz one target for so long, from its seeds and what earlier runs have found.

    Args:
        name: A key of `TARGETS`.
        seconds: How long; seeds are read besides.
        folder: Where corpus and crashes are kept.
    """
    corpus, crashes = folder / name / "corpus", folder / name / "crashes"
    for each in (corpus, crashes):
        each.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(TARGETS[name].seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    before = set(crashes.iterdir())
    options = {
        "max_total_time": seconds,
        "timeout": ONE_INPUT_SECONDS,
        "rss_limit_mb": MEMORY_MIB,
        "max_len": LONGEST_INPUT_BYTES,
        "artifact_prefix": f"{crashes}/",
        "print_final_stats": 1,
        "verbosity": 0,
    }
    command = [sys.executable, "-m", "tests.fuzz.child", name, str(corpus)]
    command += [f"-{option}={value}" for option, value in options.items()]
    done = subprocess.run(
        with_its_own_peak(command),
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    found = tuple(sorted(set(crashes.iterdir()) - before))
    said = _NOISE.sub("", done.stdout + done.stderr) + f"exit status {done.returncode}\n"
    runs = _RUNS.search(said)
    return Fuzzed(name, int(runs[1]) if runs else 0, found, said)


def with_its_own_peak(command: list[str]) -> list[str]:
    """The command as the child of a small process, whose peak of memory it begins with.

    Linux counts what a process was before `exec` in its `ru_maxrss`, by which libFuzzer judges: the
    child of tests that hold more than `MEMORY_MIB` would be out of memory before its first input.
    """
    return ["/bin/sh", "-c", '"$@"; exit $?', "sh", *command]
