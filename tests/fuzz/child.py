"""Fuzzes one target in this process, which a decoder in C may end: see `tests.fuzz`."""

from __future__ import annotations

import importlib
import logging
import sys

import atheris

_MULTIPART = ["werkzeug", "services.api.uploads", "services.api.dataset_uploads"]

GUIDED_BY = {
    "image": ["PIL", "shared.imaging", "shared.frugal"],
    "upload": _MULTIPART,
    "dataset_upload": _MULTIPART,
    "stow": ["email", "shared.interop.dicom.stow"],
    "dicom": ["pydicom", "shared.interop.dicom"],
    "hl7": ["shared.interop.hl7"],
    "body": ["pydicom", "shared.interop.dicom.ups"],
    "archive": ["zipfile", "services.trainer.archive"],
    "token": ["joserfc", "shared.auth"],
}
"""The modules whose branches guide the mutations; instrumented while they are imported."""


def main(name: str, arguments: list[str]) -> None:
    """Run libFuzzer with its arguments; ends the process."""
    with atheris.instrument_imports(include=GUIDED_BY[name]):
        targets = importlib.import_module("tests.fuzz.targets")
    logging.disable(logging.CRITICAL)

    def once(data: bytes) -> None:
        targets.refuses_or_parses(name, data)

    atheris.Setup([sys.argv[0], *arguments], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
