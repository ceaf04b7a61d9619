"""`python -m tests.fuzz --seconds 60 [TARGET ...]`: exit status 1 where anything was found."""

from __future__ import annotations

import argparse

from tests.fuzz.run import fuzz
from tests.fuzz.targets import TARGETS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    options = parser.parse_args()
    failed = False
    for name in options.targets or TARGETS:
        fuzzed = fuzz(name, seconds=options.seconds)
        failed |= fuzzed.failed
        print(f"{name}: {fuzzed.runs} inputs, {len(fuzzed.crashes)} crashes", flush=True)  # noqa: T201
        if fuzzed.failed:
            print(fuzzed.said[-4000:], *fuzzed.crashes, sep="\n", flush=True)  # noqa: T201
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
