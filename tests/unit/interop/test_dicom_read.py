"""DICOM files become images of exactly their pixels, or are refused by a stable code."""

from __future__ import annotations

import io
import struct
import time

import numpy as np
import pytest
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.pixels.processing import convert_color_space
from pydicom.sequence import Sequence

from shared.errors import HemotriageError, PayloadTooLargeError
from shared.imaging.decode import MAX_SCANS
from shared.interop.dicom.frames import common, uploads_of
from shared.interop.dicom.read import Inflation, read_instance
from shared.settings import Settings
from tests import dicom
from tests.factories import encode


@pytest.fixture(scope="module")
def settings() -> Settings:
    return dicom.settings_without_servers(max_pixels=1_000_000)


def read(data: bytes, settings: Settings):
    return read_instance(io.BytesIO(data), settings, Inflation(settings.max_request_bytes))


def uploads(data: bytes, settings: Settings):
    return uploads_of(read(data, settings), settings)


def pixels(upload) -> np.ndarray:
    upload.stream.seek(0)
    return np.asarray(Image.open(upload.stream))


def code_of(data: bytes, settings: Settings) -> str:
    with pytest.raises(HemotriageError) as refused:
        uploads(data, settings)
    return refused.value.code


@pytest.mark.parametrize(
    "syntax",
    [
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
        uid.DeflatedExplicitVRLittleEndian,
        uid.RLELossless,
        uid.JPEGLosslessSV1,
        uid.JPEGLSLossless,
        uid.JPEG2000Lossless,
    ],
    ids=lambda syntax: syntax.name,
)
@pytest.mark.parametrize("count", [1, 3])
def test_pixels_without_loss_stay_as_they_are(syntax, count, settings) -> None:
    images = [dicom.field(seed) for seed in range(count)]
    found = uploads(dicom.in_syntax(syntax, *images), settings)
    assert [upload.media_type for upload in found] == ["image/png"] * count
    for upload, image in zip(found, images, strict=True):
        assert np.array_equal(pixels(upload), np.asarray(image))
    assert [upload.source.frame for upload in found] == list(range(1, count + 1))


def test_frames_of_odd_length_in_big_endian_words_stay_as_they_are(settings) -> None:
    images = [dicom.field(seed, size=33) for seed in range(4)]
    found = uploads(dicom.in_syntax(uid.ExplicitVRBigEndian, *images), settings)
    for upload, image in zip(found, images, strict=True):
        assert np.array_equal(pixels(upload), np.asarray(image))


def test_a_baseline_jpeg_goes_on_byte_for_byte(settings) -> None:
    data, frames = dicom.in_jpeg(dicom.field(1), dicom.field(2))
    found = uploads(data, settings)
    assert [upload.media_type for upload in found] == ["image/jpeg"] * 2
    for upload, frame in zip(found, frames, strict=True):
        upload.stream.seek(0)
        assert upload.stream.read().rstrip(b"\0") == frame


def test_a_jpeg_loses_its_comment_and_no_pixel(settings) -> None:
    data, (frame,) = dicom.in_jpeg(dicom.field(), comment=b"Synthetic^Person")
    (upload,) = uploads(data, settings)
    upload.stream.seek(0)
    assert b"Synthetic" in frame
    assert b"Synthetic" not in upload.stream.read()
    assert np.array_equal(pixels(upload), np.asarray(Image.open(io.BytesIO(frame))))


def test_an_extended_jpeg_of_8_bits_is_decoded(settings) -> None:
    data, (frame,) = dicom.in_jpeg(dicom.field(), syntax=uid.JPEGExtended12Bit)
    (upload,) = uploads(data, settings)
    assert upload.media_type == "image/png"
    expected = np.asarray(Image.open(io.BytesIO(frame)))
    assert np.abs(pixels(upload).astype(int) - expected).max() <= 2


def test_a_jpeg_whose_components_are_rgb_is_not_converted(settings) -> None:
    image = dicom.field()
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=100, keep_rgb=True)
    ds = dicom.dataset(image)
    (upload,) = uploads(dicom.encapsulated(ds, [buffer.getvalue()], uid.JPEGBaseline8Bit), settings)
    assert np.abs(pixels(upload).astype(int) - np.asarray(image)).max() <= 10


def test_ybr_is_converted_exactly_once(settings) -> None:
    image = dicom.field()
    ybr = convert_color_space(np.asarray(image), "RGB", "YBR_FULL")
    ds = dicom.dataset(image, PhotometricInterpretation="YBR_FULL", PixelData=ybr.tobytes())
    (upload,) = uploads(dicom.file_of(ds), settings)
    assert np.abs(pixels(upload).astype(int) - np.asarray(image)).max() <= 2


def test_planes_of_colours_are_joined(settings) -> None:
    image = dicom.field()
    planes = np.asarray(image).transpose(2, 0, 1).tobytes()
    ds = dicom.dataset(image, PlanarConfiguration=1, PixelData=planes)
    (upload,) = uploads(dicom.file_of(ds), settings)
    assert np.array_equal(pixels(upload), np.asarray(image))


def test_the_header_tells_of_the_job(settings) -> None:
    specimen = Dataset()
    specimen.SpecimenIdentifier = "SPEC-9 "
    about = read(
        dicom.dicom_bytes(SpecimenDescriptionSequence=Sequence([specimen])), settings
    ).about
    assert (about.accession_number, about.specimen_id) == ("ACC-1", "SPEC-9")
    assert about.patient_ref.startswith("pn-")
    assert len(about.patient_ref) == 23
    assert read(dicom.dicom_bytes(), settings).about.specimen_id == "SLIDE-1"


def test_a_pseudonym_is_of_patient_issuer_and_secret(settings) -> None:
    def of(settings: Settings = settings, **changes: str) -> str | None:
        return read(dicom.dicom_bytes(**changes), settings).about.patient_ref

    other = settings.model_copy(
        update={"pseudonym_secret": type(settings.pseudonym_secret)("o" * 32)}
    )
    assert of() == of(PatientName="Another^Name")
    assert len({of(), of(PatientID="SYN-2"), of(IssuerOfPatientID="OTHER"), of(other)}) == 4
    assert of(settings.model_copy(update={"pseudonym_secret": None})) is None
    assert of(PatientID="") is None


def test_images_of_two_specimens_make_no_job(settings) -> None:
    found = [read(dicom.dicom_bytes(ContainerIdentifier=name), settings) for name in "AB"]
    with pytest.raises(HemotriageError) as refused:
        common(found)
    assert refused.value.code == "mixed_specimens"


REFUSED = {
    "a whole slide": (
        {"SOPClassUID": uid.VLWholeSlideMicroscopyImageStorage},
        "unsupported_sop_class",
    ),
    "a CT": ({"SOPClassUID": uid.CTImageStorage}, "unsupported_sop_class"),
    "grey": (
        {"PhotometricInterpretation": "MONOCHROME2", "SamplesPerPixel": 1},
        "unsupported_pixel_format",
    ),
    "a palette": ({"PhotometricInterpretation": "PALETTE COLOR"}, "unsupported_pixel_format"),
    "16 bits": ({"BitsAllocated": 16, "BitsStored": 16}, "unsupported_pixel_format"),
    "text in its pixels": ({"BurnedInAnnotation": "YES"}, "burned_in_annotation"),
    "too many rows": ({"Rows": 60_000, "Columns": 60_000}, "too_many_pixels"),
    "too many frames": ({"NumberOfFrames": 10_000}, "too_many_files"),
    "more frames than pixels": ({"NumberOfFrames": 2}, "corrupt_dicom"),
    "a negative number of frames": ({"NumberOfFrames": -1}, "corrupt_dicom"),
    "no rows": ({"Rows": 0}, "corrupt_dicom"),
    "no study": ({"StudyInstanceUID": None}, "corrupt_dicom"),
    "no pixels": ({"PixelData": None}, "corrupt_dicom"),
    "a long accession number": ({"AccessionNumber": "A" * 200}, "validation_failed"),
    "control characters": ({"AccessionNumber": "A\x1b[31m"}, "validation_failed"),
    "too few pixels": ({"Rows": 8, "Columns": 8}, "too_few_pixels"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_taken_is_refused(kind: str, settings) -> None:
    changes, code = REFUSED[kind]
    assert code_of(dicom.dicom_bytes(**changes), settings) == code


def test_a_setting_takes_images_with_text(settings) -> None:
    lenient = settings.model_copy(update={"dicom_allow_burned_in": True})
    assert uploads(dicom.dicom_bytes(BurnedInAnnotation="YES"), lenient)


@pytest.mark.parametrize("syntax", [uid.MPEG2MPML, uid.HTJ2K])
def test_another_transfer_syntax_is_refused(syntax: str, settings) -> None:
    data = dicom.encapsulated(dicom.dataset(), [b"x" * 10], uid.UID(syntax))
    assert code_of(data, settings) == "unsupported_transfer_syntax"


def test_a_private_transfer_syntax_is_refused(settings) -> None:
    data = dicom.in_jpeg(dicom.field())[0]
    private = data.replace(b"1.2.840.10008.1.2.4.50", b"1.2.840.99999.1.2.4.50")
    assert code_of(private, settings) == "unsupported_transfer_syntax"


def nested(depth: int) -> bytes:
    opened = dicom.element(0x0008, 0x1140, b"SQ", 0xFFFFFFFF)
    return (opened + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)) * depth


BOMBS = {
    "a value longer than the file": dicom.element(0x0009, 0x1001, b"UN", 0xFFFFFFF0),
    "a deep sequence": nested(50_000),
    "a wide sequence": dicom.element(0x0008, 0x1140, b"SQ", 0xFFFFFFFF)
    + struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 200_000,
    "a large value": dicom.element(0x0008, 0x0050, b"UT", 8 * 1024**2, b"a" * 8 * 1024**2),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_hostile_header_is_refused_soon(kind: str, settings) -> None:
    data = dicom.with_element(dicom.dicom_bytes(), BOMBS[kind])
    started = time.monotonic()
    assert code_of(data, settings) == "corrupt_dicom"
    assert time.monotonic() - started < 20


def test_what_inflates_without_end_is_refused(settings) -> None:
    small = settings.model_copy(update={"max_request_bytes": 8 * 1024**2})
    data = dicom.deflated_bomb(32)
    assert len(data) < 1024**2
    assert code_of(data, small) == "payload_too_large"


def test_files_of_one_request_share_what_they_may_inflate_to(settings) -> None:
    data = dicom.deflated_bomb(3)
    inflation = Inflation(5 * 1024**2)
    read_instance(io.BytesIO(data), settings, inflation)
    for _ in range(2):
        with pytest.raises(PayloadTooLargeError):
            read_instance(io.BytesIO(data), settings, inflation)


def test_what_would_decode_to_more_than_a_request_is_refused(settings) -> None:
    small = settings.model_copy(update={"max_request_bytes": 20_000})
    data = dicom.in_syntax(uid.RLELossless, dicom.field(1), dicom.field(2))
    assert code_of(data, small) == "too_many_pixels"


def test_a_frame_that_is_larger_than_its_header_says_is_refused(settings) -> None:
    _, frames = dicom.in_jpeg(dicom.field(1, size=96))
    for syntax in (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit):
        lying = dicom.encapsulated(dicom.dataset(dicom.field()), frames, syntax)
        assert code_of(lying, settings) == "corrupt_dicom"


@pytest.mark.parametrize("syntax", [uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit])
def test_a_jpeg_frame_is_looked_through_whether_it_stays_or_is_decoded(syntax, settings) -> None:
    field = dicom.field(1, size=224)
    whole = encode(field, "JPEG", quality=95)
    middle = len(whole) // 2
    scans = encode(field, "JPEG", progressive=True)
    last = scans[scans.rindex(b"\xff\xda") : -2]

    def file(frame: bytes) -> bytes:
        colours = {"PhotometricInterpretation": "YBR_FULL_422"}
        return dicom.encapsulated(dicom.dataset(field, **colours), [frame], syntax)

    assert uploads(file(whole), settings)
    assert code_of(file(whole[:middle] + whole[middle + 512 :]), settings) == "corrupt_image"
    many = scans[:-2] + last * MAX_SCANS + scans[-2:]
    assert code_of(file(many), settings) == "image_too_complex"


def test_runs_that_give_too_much_are_refused(settings) -> None:
    segment = b"\x81\x00" * 400_000
    offsets = [64 + index * len(segment) for index in range(3)]
    frame = struct.pack("<16I", 3, *offsets, *[0] * 12) + segment * 3
    data = dicom.encapsulated(dicom.dataset(), [frame], uid.RLELossless)
    assert code_of(data, settings) == "corrupt_dicom"


@pytest.mark.parametrize(
    "syntax", [uid.ExplicitVRLittleEndian, uid.RLELossless, uid.JPEG2000Lossless]
)
def test_no_cut_gives_anything_but_a_refusal(syntax, settings) -> None:
    data = dicom.in_syntax(syntax, dicom.field())
    for length in (*range(132, 1200, 37), *range(1200, len(data) - 64, 1500)):
        with pytest.raises(HemotriageError) as refused:
            uploads(data[:length], settings)
        assert refused.value.code in {"corrupt_dicom", "corrupt_image"}, length


@pytest.mark.parametrize(
    ("syntax", "count"),
    # A child that two of them end is started anew.
    [(uid.JPEG2000Lossless, 150), (uid.JPEGLSLossless, 20), (uid.JPEGLosslessSV1, 20)],
)
def test_no_changed_byte_gives_anything_but_pixels_or_a_refusal(
    settings, syntax: uid.UID, count: int
) -> None:
    random = np.random.default_rng(7)
    whole = dicom.in_syntax(syntax, dicom.field())
    for _ in range(count):
        data = bytearray(whole)
        for position in random.integers(132, len(data), 3):
            data[position] = random.integers(256)
        try:
            assert uploads(bytes(data), settings)
        except HemotriageError as error:
            assert error.http_status < 500
