"""Takes the pixels out of DICOM files: image files that hold nothing of a header."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, BinaryIO, cast

import numpy as np
from PIL import Image
from pydicom import uid
from pydicom.encaps import generate_frames

from shared.errors import ImageTooLargeError, TooManyFilesError, UnsupportedPixelFormatError
from shared.imaging import Pixels
from shared.imaging.decode import check_image
from shared.interop.dicom import codestream
from shared.interop.dicom.decoder.decode import (
    J2K,
    JPEG,
    JPEG_LOSSLESS,
    JPEG_LS,
    SAMPLES,
    Coded,
    decode,
)
from shared.interop.dicom.decoder.process import Decoders
from shared.interop.dicom.errors import (
    BurnedInAnnotationError,
    CorruptDicomError,
    MixedSpecimensError,
    UnsupportedSopClassError,
    UnsupportedTransferSyntaxError,
)
from shared.interop.dicom.read import About, Instance, frugal, guarded
from shared.interop.sources import DicomSource
from shared.jobs.submit import Upload
from shared.jobs.uploads import check_upload, spool
from shared.settings import Settings

SOP_CLASSES = (
    uid.VLMicroscopicImageStorage,
    uid.VLSlideCoordinatesMicroscopicImageStorage,
    uid.VLPhotographicImageStorage,
    uid.SecondaryCaptureImageStorage,
    uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
)
"""What is taken. A whole slide is no field: its tiles are at many scales, most without a cell."""

_NATIVE = (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian)
_APART = (*J2K, *JPEG_LS, *JPEG_LOSSLESS)
"""Decoded in a child: by decoders in C and C++ that no other upload meets."""
_COMPRESSED = (*JPEG, *_APART, uid.RLELossless)
TRANSFER_SYNTAXES = (*_NATIVE, uid.DeflatedExplicitVRLittleEndian, *_COMPRESSED)

_HALF_CHROMA = 2  # bytes a pixel of YBR_FULL_422 (PS3.3, section C.7.6.3.1.2)
_UNDEFINED = 0xFFFFFFFF
_PIXEL_DATA = (0x7FE0, 0x0010)
_FAST = 1

_DECODERS = Decoders()


def check_instance(instance: Instance, settings: Settings) -> None:
    """Refuse what is not taken, by the header, before a pixel is decoded.

    Raises:
        ImageError: One of its subclasses says why.
        TooManyFilesError: It has more frames than a job may have images.
    """
    if instance.sop_class_uid not in SOP_CLASSES:
        raise UnsupportedSopClassError(f"Its SOP class is {instance.sop_class_uid}.")
    if instance.transfer_syntax not in TRANSFER_SYNTAXES:
        raise UnsupportedTransferSyntaxError(f"Its transfer syntax is {instance.transfer_syntax}.")
    if not instance.has_pixels:
        raise CorruptDicomError("It ends before its pixels.")
    if instance.burned_in and not settings.dicom_allow_burned_in:
        raise BurnedInAnnotationError
    if not instance.is_8_bit_colour or instance.photometric not in _photometrics(instance):
        raise UnsupportedPixelFormatError("It is not 8-bit colour of three samples.")
    if min(instance.rows, instance.columns, instance.frames) < 1:
        raise CorruptDicomError("It has no rows, columns or frames.")
    if instance.rows * instance.columns > settings.max_pixels:
        size = f"{instance.columns}x{instance.rows}"
        raise ImageTooLargeError(f"{size} is more than {settings.max_pixels} pixels.")
    if instance.frames > settings.max_files:
        raise TooManyFilesError(f"{instance.frames} frames; at most {settings.max_files}.")


def _photometrics(instance: Instance) -> tuple[str, ...]:
    """The colours that a transfer syntax may be in (PS3.5, section 8.2)."""
    if instance.transfer_syntax in J2K:
        return "RGB", "YBR_FULL", "YBR_ICT", "YBR_RCT"
    if instance.transfer_syntax in (*JPEG, *_NATIVE):
        return "RGB", "YBR_FULL", "YBR_FULL_422"
    return "RGB", "YBR_FULL"


def common(instances: Sequence[Instance]) -> About:
    """What the headers of a job's images say of it.

    Raises:
        MixedSpecimensError: They say different things, so that they belong to different jobs.
    """

    def one(name: str) -> str | None:
        found = {value for each in instances if (value := getattr(each.about, name)) is not None}
        if len(found) > 1:
            raise MixedSpecimensError(f"They differ in {name}.")
        return found.pop() if found else None

    return About(one("accession_number"), one("specimen_id"), one("patient_ref"))


def uploads_of(instance: Instance, settings: Settings) -> list[Upload]:
    """The frames of an instance, checked like any uploaded image.

    An 8-bit baseline JPEG stays as it is coded, less comments and EXIF; all else becomes PNG.

    Raises:
        ImageError: One of its subclasses says what is wrong.
        ImageTooLargeError: What must be decoded would be larger than a request may be.
    """
    check_instance(instance, settings)
    found = []
    with guarded():
        for number, frame in enumerate(_frames(instance), start=1):
            image = _as_it_is(instance, frame)
            if image is None:
                if _frame_bytes(instance) * instance.frames > settings.max_request_bytes:
                    limit = settings.max_request_bytes
                    raise ImageTooLargeError(f"Its frames decode to more than {limit} bytes.")
                image = _as_png(instance, frame)
            upload = check_upload(image, settings, max_bytes=settings.max_request_bytes)
            found.append(replace(upload, source=_source(instance, number)))
    return found


def _source(instance: Instance, number: int) -> DicomSource:
    return DicomSource(
        index=number - 1,
        study_uid=instance.study_uid,
        series_uid=instance.series_uid,
        instance_uid=instance.instance_uid,
        sop_class_uid=instance.sop_class_uid,
        frame=number,
    )


def _frames(instance: Instance) -> Iterator[bytes]:
    """The bytes of each frame, as they are coded.

    Raises:
        CorruptDicomError: There are fewer than the header says.
    """
    stream = instance.stream
    stream.seek(instance.pixels_at)
    is_swapped, length = _pixel_element(instance)
    if instance.transfer_syntax in _COMPRESSED:
        if length != _UNDEFINED:
            raise CorruptDicomError("Its frames are not encapsulated.")
        size = stream.seek(0, 2)
        stream.seek(instance.pixels_at + _encapsulated_header(instance))
        encapsulated = cast("Any", frugal(stream, 2 * size))
        frames = generate_frames(encapsulated, number_of_frames=instance.frames)
    else:
        frames = _native_frames(instance, stream.tell(), is_swapped=is_swapped)
    given = 0
    for frame in frames:
        given += 1
        if given > instance.frames:
            break
        yield frame
    if given != instance.frames:
        raise CorruptDicomError(f"It has {given} frames; its header says {instance.frames}.")


def _encapsulated_header(instance: Instance) -> int:
    """Bytes of tag, VR and length before a value that is encapsulated."""
    return 8 if instance.transfer_syntax.is_implicit_VR else 12


def _pixel_element(instance: Instance) -> tuple[bool, int]:
    """Read the head of the pixel data, up to its value (PS3.5, section 7.1).

    Returns:
        Whether its bytes are swapped in pairs, as those of words in big endian are; its length.
    """
    syntax, stream = instance.transfer_syntax, instance.stream
    order = "<" if syntax.is_little_endian else ">"
    head = stream.read(_encapsulated_header(instance))
    if syntax.is_implicit_VR:
        group, element, length = struct.unpack(f"{order}HHL", head)
        representation = b"OW"
    else:
        group, element, representation, length = struct.unpack(f"{order}HH2s2xL", head)
    if (group, element) != _PIXEL_DATA or representation not in (b"OB", b"OW"):
        raise CorruptDicomError("It has no pixel data.")
    return representation == b"OW" and not syntax.is_little_endian, length


def _native_frames(instance: Instance, start: int, *, is_swapped: bool) -> Iterator[bytes]:
    size = _frame_bytes(instance)
    for number in range(instance.frames):
        begin = start + number * size
        # A swapped frame of odd length shares a word with the next one.
        margin = begin % 2 if is_swapped else 0
        instance.stream.seek(begin - margin)
        data = instance.stream.read(size + margin + (size + margin) % 2)
        if is_swapped:
            data = np.frombuffer(data[: len(data) // 2 * 2], dtype=">u2").byteswap().tobytes()
        frame = data[margin : margin + size]
        if len(frame) < size:
            raise CorruptDicomError("Its pixel data ends early.")
        yield frame


def _frame_bytes(instance: Instance) -> int:
    """Bytes of a frame without compression."""
    is_native = instance.transfer_syntax in _NATIVE
    halved = is_native and instance.photometric == "YBR_FULL_422"
    return instance.rows * instance.columns * (_HALF_CHROMA if halved else SAMPLES)


def _as_it_is(instance: Instance, frame: bytes) -> BinaryIO | None:
    """A baseline JPEG whose colours every decoder sees as the header says; else None."""
    if instance.transfer_syntax != uid.JPEGBaseline8Bit:
        return None
    _check_size(instance, frame)
    seen = codestream.says_colours(frame) or "YBR"
    if seen != instance.photometric[:3]:
        return None
    image = spool()
    image.write(codestream.without_comments(frame))
    return cast("BinaryIO", image)


def _check_size(instance: Instance, frame: bytes) -> None:
    if codestream.size_of(frame) != (instance.columns, instance.rows):
        raise CorruptDicomError("A frame has another size than its header says.")


def _as_png(instance: Instance, frame: bytes) -> BinaryIO:
    image = spool()
    Image.fromarray(_decoded(instance, frame)).save(image, "PNG", compress_level=_FAST)
    return cast("BinaryIO", image)


def _decoded(instance: Instance, frame: bytes) -> Pixels:
    """One frame in RGB, shape (rows, columns, 3)."""
    syntax = instance.transfer_syntax
    if syntax == uid.RLELossless:
        codestream.check_runs(frame, instance.rows * instance.columns)
    elif syntax in _COMPRESSED:
        _check_size(instance, frame)
    if syntax in JPEG:  # as where it stays as it is
        plain = io.BytesIO(codestream.without_comments(frame))
        check_image(plain, max_pixels=instance.rows * instance.columns)
    coded = Coded(
        str(syntax), instance.rows, instance.columns, instance.photometric, instance.planar
    )
    return _DECODERS(coded, frame) if syntax in _APART else decode(coded, frame)
