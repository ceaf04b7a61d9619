"""Decodes one frame, from a data set that holds nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.utils import pixel_array

from shared.imaging import Pixels

SAMPLES = 3

JPEG = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit)
J2K = (uid.JPEG2000Lossless, uid.JPEG2000)
JPEG_LS = (uid.JPEGLSLossless, uid.JPEGLSNearLossless)
JPEG_LOSSLESS = (uid.JPEGLossless, uid.JPEGLosslessSV1)

# Pillow's decoders see far more hostile files than any other's. One is named for JPEG-LS as well:
# what the first has searched for long and refused is not searched by another.
_PLUGINS = {**dict.fromkeys((*JPEG, *J2K), "pillow"), **dict.fromkeys(JPEG_LS, "pyjpegls")}


@dataclass(frozen=True)
class Coded:
    """What a decoder has to know of a frame besides its bytes.

    Attributes:
        syntax: UID of the transfer syntax; one of those without compression means little endian.
        rows: Height in pixels.
        columns: Width in pixels.
        photometric: Its photometric interpretation (PS3.3, section C.7.6.3.1.2).
        planar: Its planar configuration: 0, colours by pixel, or 1, by plane.
    """

    syntax: str
    rows: int
    columns: int
    photometric: str
    planar: int


def decode(coded: Coded, frame: bytes) -> Pixels:
    """Decode a frame in this process.

    Args:
        coded: What it is.
        frame: Its bytes; three samples of 8 bits a pixel.

    Returns:
        RGB, shape (rows, columns, 3).

    Raises:
        Exception: Whatever a decoder raises for what it cannot decode. A decoder in C or C++ may
            also crash or never end: see `shared.interop.dicom.decoder.process`.
    """
    syntax = uid.UID(coded.syntax)
    alone = Dataset()
    alone.file_meta = FileMetaDataset()
    alone.file_meta.TransferSyntaxUID = (
        syntax if syntax.is_encapsulated else uid.ExplicitVRLittleEndian
    )
    alone.Rows, alone.Columns = coded.rows, coded.columns
    alone.SamplesPerPixel, alone.PixelRepresentation = SAMPLES, 0
    alone.BitsAllocated, alone.BitsStored, alone.HighBit = 8, 8, 7
    alone.PhotometricInterpretation = coded.photometric
    alone.PlanarConfiguration = coded.planar
    alone.PixelData = (
        encapsulate([frame]) if syntax.is_encapsulated else frame + b"\0" * (len(frame) % 2)
    )
    alone["PixelData"].VR = "OB"
    pixels = pixel_array(alone, decoding_plugin=_PLUGINS.get(syntax, ""))
    return cast("Pixels", np.ascontiguousarray(pixels))
