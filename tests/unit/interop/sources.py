"""What images were in DICOM, for what is made of results."""

from __future__ import annotations

from shared.interop.sources import DicomSource

MICROSCOPIC = "1.2.840.10008.5.1.4.1.1.77.1.2"
MULTI_FRAME = "1.2.840.10008.5.1.4.1.1.7.4"


def source(index: int, *, sop_class_uid: str = MICROSCOPIC, frame: int = 1) -> DicomSource:
    """The image of an instance of its own."""
    return DicomSource(index, "1.2.3", "1.2.3.4", f"1.2.3.4.{index}", sop_class_uid, frame)
