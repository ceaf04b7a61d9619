"""The child that decodes frames: `python -m shared.interop.dicom.decoder.child`.

Its third descriptor is an open file with a frame, which the pixels take the place of. A line of
JSON on standard input says what the frame is; a byte on standard output says that the pixels are
there. The end of its input is its own end, and so is anything that a decoder raises.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys

from shared.interop.dicom.decoder.decode import SAMPLES, Coded, decode
from shared.interop.dicom.decoder.process import FILE

_BASE_BYTES = 512 * 1024**2
_BYTES_A_PIXEL = 32
"""Memory for a frame of so many pixels: GDCM and pydicom copy it several times."""
_BASE_SECONDS = 1.0
_PIXELS_A_SECOND = 500_000
"""Processor time for a frame: several times what the slowest decoder needs, that of JPEG 2000."""
_PATIENCE = 10
"""How many times as long it may last where others compute too."""


def main() -> None:
    """Decode until nobody asks any more."""
    # A server's socket may be among what was inherited: gunicorn's are.
    os.closerange(FILE + 1, os.sysconf("SC_OPEN_MAX"))
    # Whoever ends our parent ends us by the end of our input, once the frame is done.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # What a library prints must not be taken for an answer.
    answers = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with os.fdopen(FILE, "r+b", buffering=0) as file:
        os.write(answers, b"\1")
        for line in sys.stdin.buffer:
            coded = Coded(**json.loads(line))
            _limit(coded)
            file.seek(0)
            pixels = decode(coded, file.read())
            file.seek(0)
            file.truncate()
            file.write(pixels.data)
            for timer in (signal.ITIMER_PROF, signal.ITIMER_REAL):
                signal.setitimer(timer, 0)
            os.write(answers, b"\1")


def _limit(coded: Coded) -> None:
    """Bound what one frame may take. Beyond it the kernel gives no more memory, or kills.

    Python handles no signal while a decoder runs: both alarms are left to the kernel.
    """
    pixels = coded.rows * coded.columns
    for what, most in (
        (resource.RLIMIT_AS, _BASE_BYTES + _BYTES_A_PIXEL * pixels),
        (resource.RLIMIT_FSIZE, SAMPLES * pixels),
    ):
        _, hard = resource.getrlimit(what)
        soft = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (soft, hard))
    processor = _BASE_SECONDS + pixels / _PIXELS_A_SECOND
    signal.setitimer(signal.ITIMER_PROF, processor)
    signal.setitimer(signal.ITIMER_REAL, _PATIENCE * processor)


if __name__ == "__main__":
    main()
