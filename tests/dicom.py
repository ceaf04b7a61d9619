"""Synthetic DICOM files: drawn fields of patients that do not exist."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.pixels import compress

from shared.local.synthetic import draw_smear
from shared.settings import Settings
from tests.canaries import BIRTH_DATE, PATIENT_ID, PATIENT_NAME

ISSUER = "SYNTHETIC-CLINIC"
SECRET = "a-secret-of-tests-that-is-long-enough"


def settings_without_servers(**changes: Any) -> Settings:
    """Settings for what needs no server, with a secret for pseudonyms."""
    servers = ("database_url", "broker_url", "s3_endpoint", "s3_access_key", "s3_secret_key")
    values = {**dict.fromkeys(servers, "x"), "pseudonym_secret": SECRET, **changes}
    return Settings.model_validate(values)


def field(seed: int = 1, size: int = 64) -> Image.Image:
    """A small drawn field in RGB."""
    return draw_smear(seed, size=size, red_cells=3, nucleated_cells=1)


def dataset(*images: Image.Image, study: str | None = None, **changes: Any) -> Dataset:
    """A microscopic image, uncompressed; a change to None leaves the attribute out."""
    images = images or (field(),)
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    ds.SOPClassUID = uid.VLMicroscopicImageStorage
    ds.SOPInstanceUID, ds.SeriesInstanceUID = uid.generate_uid(), uid.generate_uid()
    ds.StudyInstanceUID = study or uid.generate_uid()
    ds.PatientName, ds.PatientID, ds.IssuerOfPatientID = PATIENT_NAME, PATIENT_ID, ISSUER
    ds.PatientBirthDate, ds.PatientSex = BIRTH_DATE, "O"
    ds.AccessionNumber, ds.ContainerIdentifier = "ACC-1", "SLIDE-1"
    ds.SeriesNumber, ds.InstanceNumber = 1, 1
    ds.Rows, ds.Columns = images[0].height, images[0].width
    ds.SamplesPerPixel, ds.PlanarConfiguration = 3, 0
    ds.PhotometricInterpretation = "RGB"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    if len(images) > 1:
        ds.NumberOfFrames = len(images)
    data = b"".join(np.asarray(image).tobytes() for image in images)
    ds.PixelData = data + b"\0" * (len(data) % 2)
    ds["PixelData"].VR = "OB"
    for keyword, value in changes.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    return ds


def file_of(ds: Dataset) -> bytes:
    """The file of a data set, in the transfer syntax that it names."""
    ds.file_meta.MediaStorageSOPClassUID = ds.get("SOPClassUID", "1.2.3")
    ds.file_meta.MediaStorageSOPInstanceUID = ds.get("SOPInstanceUID", "1.2.3")
    buffer = io.BytesIO()
    dcmwrite(buffer, ds, enforce_file_format=True, overwrite=True)
    return buffer.getvalue()


def dicom_bytes(*images: Image.Image, **changes: Any) -> bytes:
    """The file of a microscopic image."""
    return file_of(dataset(*images, **changes))


def in_jpeg(
    *images: Image.Image, syntax: uid.UID = uid.JPEGBaseline8Bit, comment: bytes = b"", **more: Any
) -> tuple[bytes, list[bytes]]:
    """The file of images in JPEG, and the JPEG of each."""
    frames = []
    for image in images:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=90, comment=comment)
        frames.append(buffer.getvalue())
    ds = dataset(*images, PhotometricInterpretation="YBR_FULL_422", **more)
    return encapsulated(ds, frames, syntax), frames


def encapsulated(ds: Dataset, frames: list[bytes], syntax: uid.UID) -> bytes:
    """The file of a data set whose frames are these, compressed."""
    ds.file_meta.TransferSyntaxUID = syntax
    ds.PixelData = encapsulate(frames)
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    return file_of(ds)


def in_syntax(syntax: uid.UID, *images: Image.Image, **changes: Any) -> bytes:
    """The file of images without loss in a transfer syntax."""
    ds = dataset(*images, **changes)
    if syntax == uid.ExplicitVRBigEndian:
        ds.file_meta.TransferSyntaxUID = syntax
        ds["PixelData"].VR = "OW"
        ds.PixelData = np.frombuffer(ds.PixelData, "<u2").byteswap().tobytes()
    elif syntax in (uid.RLELossless, uid.JPEGLSLossless):
        ds.PhotometricInterpretation = "RGB"
        compress(ds, syntax, generate_instance_uid=False)
    elif syntax == uid.JPEGLosslessSV1:
        return encapsulated(ds, [_lossless(image) for image in images], syntax)
    elif syntax == uid.JPEG2000Lossless:
        return encapsulated(ds, [_in_jpeg_2000(image) for image in images], syntax)
    else:
        ds.file_meta.TransferSyntaxUID = syntax
    return file_of(ds)


def _in_jpeg_2000(image: Image.Image) -> bytes:
    """The bare codestream of an image: DICOM has no JP2 boxes."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG2000", no_jp2=True, irreversible=False)
    return buffer.getvalue()


def _lossless(image: Image.Image) -> bytes:
    """An image as JPEG Lossless, predictor 1 (ITU-T T.81, annex H), which Pillow does not write.

    The code of each of the nine categories of differences has four bits.
    """
    pixels = np.asarray(image).astype(int)
    predicted = np.roll(pixels, 1, axis=1)
    predicted[1:, 0] = pixels[:-1, 0]
    predicted[0, 0] = 128
    bits = "".join(_coded(int(difference)) for difference in (pixels - predicted).ravel())
    bits += "1" * (-len(bits) % 8)
    scan = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\x00")
    components = b"".join(bytes([number, 0x11, 0]) for number in (1, 2, 3))
    frame = struct.pack(">BHHB", 8, image.height, image.width, 3) + components
    table = bytes([0, 0, 0, 0, 9, *[0] * 12, *range(9)])
    start = bytes([3, 1, 0, 2, 0, 3, 0, 1, 0, 0])
    segments = [(0xC3, frame), (0xC4, table), (0xDA, start)]
    head = b"".join(struct.pack(">BBH", 0xFF, m, len(body) + 2) + body for m, body in segments)
    return b"\xff\xd8" + head + scan + b"\xff\xd9"


def crashing() -> bytes:
    """A file whose frame ends the process that GDCM 3.2 decodes it in: a table of no length."""
    return in_syntax(uid.JPEGLosslessSV1, field()).replace(b"\xff\xc4\x00\x1c", b"\xff\xc4\x00\x02")


def _coded(difference: int) -> str:
    category = abs(difference).bit_length()
    if category == 0:
        return "0000"
    extra = difference if difference > 0 else difference + (1 << category) - 1
    return f"{category:04b}{extra:0{category}b}"


def element(group: int, number: int, vr: bytes, length: int, value: bytes = b"") -> bytes:
    """A data element with a length of 32 bits, whatever its value has."""
    return struct.pack("<HH2sHI", group, number, vr, 0, length) + value


def with_element(data: bytes, extra: bytes) -> bytes:
    """A file with something inserted at the beginning of its data set."""
    start = 144 + struct.unpack_from("<I", data, 140)[0]
    return data[:start] + extra + data[start:]


def deflated_bomb(megabytes: int) -> bytes:
    """A small file that inflates to so many megabytes: an image behind a large private element."""
    plain = in_syntax(uid.DeflatedExplicitVRLittleEndian, field())
    start = 144 + struct.unpack_from("<I", plain, 140)[0]
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    deflated = deflater.compress(element(0x0009, 0x1001, b"UN", megabytes * 1024**2))
    for _ in range(megabytes):
        deflated += deflater.compress(b"\0" * 1024**2)
    deflated += deflater.compress(zlib.decompress(plain[start:], -zlib.MAX_WBITS))
    return plain[:start] + deflated + deflater.flush()
