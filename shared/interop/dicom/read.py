"""Reads an uploaded DICOM file: what may be known of it, and then its frames one at a time.

A header may be hostile: values of gigabytes, sequences within sequences, a stream that inflates to
a thousand times its size. So of each file only `MAX_HEADER_BYTES` are read before its pixels, in
a bounded number of pieces, and only the attributes below are looked at.
"""

from __future__ import annotations

import logging
import re
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from pydantic import TypeAdapter, ValidationError
from pydicom import config, uid
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset, read_preamble
from pydicom.tag import BaseTag, Tag

from shared.errors import HemotriageError, PayloadTooLargeError
from shared.frugal import Frugal
from shared.interop.dicom.deidentify import pseudonym
from shared.interop.dicom.errors import CorruptDicomError, DicomFieldError
from shared.jobs.reference import Reference
from shared.jobs.uploads import spool
from shared.settings import Settings

MAX_HEADER_BYTES = 4 * 1024**2

# What pydicom says of a value that it does not like may quote it: a name would get into the log.
config.settings.reading_validation_mode = config.IGNORE
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", module="pydicom")

_MAGIC_AT = 128
_MAGIC = b"DICM"
_CHUNK = 64 * 1024
_PIXEL_DATA = 0x7FE00010
_PADDING = " \0"
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")  # PS3.5, section 9.1
_MAX_UID = 64
_KEYWORDS = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"),
    *("SeriesNumber", "InstanceNumber", "AccessionNumber", "PatientID", "IssuerOfPatientID"),
    *("SpecimenDescriptionSequence", "ContainerIdentifier", "BurnedInAnnotation"),
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation"),
    *("BitsAllocated", "BitsStored", "PixelRepresentation", "PlanarConfiguration"),
)
READ_TAGS = frozenset(int(Tag(keyword)) for keyword in _KEYWORDS)
"""The only attributes that are read, by group and element in one number."""

_REFERENCE: TypeAdapter[str] = TypeAdapter(Reference)


class Inflation:
    """What the deflated files of one request may inflate to, all of them together.

    They stay on disk until the request ends, so that a bound for each alone would be none.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self._left = most_bytes

    def inflated(self, stream: BinaryIO) -> BinaryIO:
        """The data set of a deflated file (PS3.5, section A.5), from behind its meta information.

        Raises:
            PayloadTooLargeError: It is more than what is left.
        """
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        plain = cast("BinaryIO", spool())
        while not inflater.eof and (data := inflater.unconsumed_tail or stream.read(_CHUNK)):
            self._write(plain, inflater.decompress(data, _CHUNK))
        self._write(plain, inflater.flush())
        return plain

    def _write(self, plain: BinaryIO, data: bytes) -> None:
        """What one file took is not given back: each costs time, whatever becomes of it."""
        self._left -= len(data)
        if self._left < 0:
            raise PayloadTooLargeError(
                f"Deflated files inflate to more than {self.most_bytes} bytes in all."
            )
        plain.write(data)


@dataclass(frozen=True)
class About:
    """What a job may be told of by the header of its images; None: the header does not say."""

    accession_number: str | None
    specimen_id: str | None
    patient_ref: str | None


@dataclass(frozen=True)
class Instance:
    """A DICOM file whose header was read. Rows and columns in pixels; frames are at least 1.

    `stream` is the file, inflated where it was deflated; its pixel data begins at `pixels_at`.
    """

    study_uid: str
    series_uid: str
    instance_uid: str
    sop_class_uid: str
    transfer_syntax: uid.UID
    position: tuple[int, int]
    about: About
    burned_in: bool
    rows: int
    columns: int
    frames: int
    photometric: str
    planar: int
    is_8_bit_colour: bool
    stream: BinaryIO
    pixels_at: int
    has_pixels: bool


def frugal(stream: BinaryIO, most_bytes: int) -> BinaryIO:
    """A stream that ends with `CorruptDicomError` once too much was read of it."""
    return cast(
        "BinaryIO",
        Frugal(
            stream,
            most_bytes=most_bytes,
            too_long=CorruptDicomError("Its header is too large."),
            too_many=CorruptDicomError("It is made of too many pieces."),
        ),
    )


def is_dicom(stream: BinaryIO) -> bool:
    """Whether a file says that it is DICOM (PS3.10, section 7.1)."""
    stream.seek(_MAGIC_AT)
    return stream.read(len(_MAGIC)) == _MAGIC


@contextmanager
def guarded() -> Iterator[None]:
    """Whatever a reader or decoder raises for a hostile file is the file's fault.

    What it says stays behind: it may quote the header.
    """
    try:
        yield
    except HemotriageError:
        raise
    except Exception as error:
        raise CorruptDicomError from error


def read_instance(stream: BinaryIO, settings: Settings, inflation: Inflation) -> Instance:
    """Read a header; whether the image is one that is taken is `check_instance`'s to say.

    Args:
        stream: The file, seekable; it must stay open as long as the instance is used.
        settings: The secret of pseudonyms.
        inflation: Of the request that it came in.

    Raises:
        CorruptDicomError: It is no DICOM file, or lacks what every image has.
        DicomFieldError: An identifier is none that a job may have.
        PayloadTooLargeError: It inflates to too much.
    """
    with guarded():
        if not is_dicom(stream):
            raise CorruptDicomError("It does not begin as a DICOM file.")
        stream.seek(0)
        header_of = frugal(stream, MAX_HEADER_BYTES)
        read_preamble(header_of, force=False)
        meta = read_dataset(header_of, False, True, stop_when=_is_beyond_meta)
        syntax = uid.UID(_uid(meta, "TransferSyntaxUID"))
        if syntax == uid.DeflatedExplicitVRLittleEndian:
            syntax = uid.ExplicitVRLittleEndian
            stream = inflation.inflated(stream)
            header_of = frugal(stream, MAX_HEADER_BYTES)
            header_of.seek(0)
        header = read_dataset(
            header_of,
            syntax.is_implicit_VR if not syntax.is_private else False,
            syntax.is_little_endian if not syntax.is_private else True,
            stop_when=_is_at_pixels,
            specific_tags=[BaseTag(tag) for tag in READ_TAGS],
        )
        return _instance(header, syntax, stream, settings)


def _instance(header: Dataset, syntax: uid.UID, stream: BinaryIO, settings: Settings) -> Instance:
    pixels_at = stream.tell()
    depth = ("BitsAllocated", "BitsStored", "SamplesPerPixel", "PixelRepresentation")
    return Instance(
        study_uid=_uid(header, "StudyInstanceUID"),
        series_uid=_uid(header, "SeriesInstanceUID"),
        instance_uid=_uid(header, "SOPInstanceUID"),
        sop_class_uid=_uid(header, "SOPClassUID"),
        transfer_syntax=syntax,
        position=(_number(header, "SeriesNumber"), _number(header, "InstanceNumber")),
        about=_about(header, settings),
        burned_in=_text(header, "BurnedInAnnotation") == "YES",
        rows=_number(header, "Rows"),
        columns=_number(header, "Columns"),
        frames=_number(header, "NumberOfFrames", 1),
        photometric=_text(header, "PhotometricInterpretation"),
        planar=_number(header, "PlanarConfiguration"),
        is_8_bit_colour=[_number(header, keyword) for keyword in depth] == [8, 8, 3, 0],
        stream=stream,
        pixels_at=pixels_at,
        has_pixels=bool(stream.read(1)),
    )


def _about(header: Dataset, settings: Settings) -> About:
    """Identifiers, by the same rules as the fields of a form."""
    described = header.get("SpecimenDescriptionSequence") or []
    # Several specimens on one slide share no identifier but that of the slide.
    specimen = _text(described[0], "SpecimenIdentifier") if len(described) == 1 else ""
    patient = pseudonym(
        settings.pseudonym_secret, _text(header, "PatientID"), _text(header, "IssuerOfPatientID")
    )
    return About(
        accession_number=_reference(_text(header, "AccessionNumber"), "AccessionNumber"),
        specimen_id=_reference(
            specimen or _text(header, "ContainerIdentifier"), "SpecimenIdentifier"
        ),
        patient_ref=patient,
    )


def _reference(text: str, keyword: str) -> str | None:
    if not text:
        return None
    try:
        return _REFERENCE.validate_python(text)
    except ValidationError:
        raise DicomFieldError(f"{keyword}.") from None


def _text(header: Dataset, keyword: str) -> str:
    """A value without its padding (PS3.5, section 6.2); empty where there is none."""
    value: Any = header.get(keyword)
    return "" if value is None else str(value).strip(_PADDING)


def _number(header: Dataset, keyword: str, default: int = 0) -> int:
    text = _text(header, keyword)
    return int(text) if text else default


def _uid(header: Dataset, keyword: str) -> str:
    text = _text(header, keyword)
    if len(text) > _MAX_UID or not _UID.fullmatch(text):
        raise CorruptDicomError(f"Its {keyword} is missing or no UID.")
    return text


def _is_beyond_meta(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return tag.group != 2


def _is_at_pixels(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return int(tag) >= _PIXEL_DATA
