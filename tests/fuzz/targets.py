"""Nine parsers of outside bytes as functions of bytes, with valid inputs to begin from.

A target returns, or raises an error that has a stable code. Anything else is a finding.
"""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from flask import Flask, request
from pydantic import ValidationError
from pydicom import Dataset, uid
from werkzeug.exceptions import HTTPException

from services.api.dataset_uploads import ArchiveUpload
from services.api.order_schemas import OrderIn
from services.api.pace import PacedBody
from services.api.schemas import JobFields
from services.api.uploads import SpoolingRequest, uploaded_streams
from services.trainer.archive import extract
from services.trainer.class_folders import ClassFolders
from shared.auth.tokens import Tokens
from shared.clock import utc_now
from shared.errors import HemotriageError
from shared.imaging.decode import MIN_SIDE, check_image, decode_image
from shared.interop.dicom.frames import uploads_of
from shared.interop.dicom.read import Inflation, read_instance
from shared.interop.dicom.stow import Parts
from shared.interop.dicom.ups.read import read_changes, read_creation, read_dataset
from shared.interop.hl7.ack import Refusal, acknowledge
from shared.interop.hl7.mllp import check_acknowledged
from shared.interop.hl7.orders import read_orders
from shared.interop.hl7.read import Hl7Error, Message, read_message
from shared.settings import Settings
from shared.triage.labels import LABELS
from shared.webhooks.call import CallFailedError
from tests import hl7_orders
from tests.dicom import (
    deflated_bomb,
    dicom_bytes,
    field,
    in_jpeg,
    in_syntax,
    settings_without_servers,
)
from tests.factories import BAD_IMAGES, encode

MAX_PIXELS = 1_000_000
BOUNDARY = "fuzz"

DICOM_SYNTAXES = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.RLELossless,
)
"""Of the files to begin from; frames of others are decoded in a child, which may crash."""

_FORM = f"multipart/form-data; boundary={BOUNDARY}"


@dataclass(frozen=True)
class Target:
    """A parser, and valid inputs or nearly valid ones."""

    parse: Callable[[bytes], None]
    seeds: Callable[[], Iterator[bytes]]


@cache
def _settings() -> Settings:
    return settings_without_servers(
        max_pixels=MAX_PIXELS,
        max_file_bytes=1024**2,
        max_request_bytes=4 * 1024**2,
        oidc_issuers="http://127.0.0.1:9=hemotriage",
        connect_timeout_seconds=0.1,
    )


def image(data: bytes) -> None:
    """An upload's bytes, checked, whole and reduced."""
    check_image(io.BytesIO(data), max_pixels=MAX_PIXELS)
    for reduced in (False, True):
        decoded = decode_image(io.BytesIO(data), max_pixels=MAX_PIXELS, reduced=reduced)
        assert decoded.image.mode == "RGB"
        assert min(decoded.width, decoded.height) >= MIN_SIDE
        assert decoded.width * decoded.height <= MAX_PIXELS


def images() -> Iterator[bytes]:
    small = field(size=MIN_SIDE)
    for image_format in ("PNG", "JPEG", "TIFF", "BMP", "WEBP"):
        yield encode(small, image_format)
    yield encode(small, "JPEG", progressive=True)
    yield encode(small, "WEBP", lossless=True, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0")
    for compression in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg"):
        yield encode(small, "TIFF", compression=compression)
    yield encode(small, "TIFF", big_tiff=True)
    yield encode(small.convert("P"), "PNG")
    yield encode(small.convert("P"), "BMP")
    yield encode(small, "MPO", save_all=True, append_images=[small])
    yield from (data for data, _, _ in BAD_IMAGES.values() if 0 < len(data) < 20_000)


@contextmanager
def _request(data: bytes, content_type: str, url: str = "/") -> Iterator[None]:
    """A running request with this body, as the API's."""
    app = Flask(__name__)
    app.request_class = SpoolingRequest
    app.config["MAX_CONTENT_LENGTH"] = _settings().max_request_bytes
    paced = {"wsgi.input": PacedBody(io.BytesIO(data))}
    with app.test_request_context(
        url, method="POST", data=data, content_type=content_type, environ_overrides=paced
    ):
        yield


def upload(data: bytes) -> None:
    """A form of images, with its fields."""
    with _request(data, _FORM):
        with uploaded_streams(_settings()) as streams:
            for stream in streams:
                stream.read()
        JobFields.model_validate(request.form.to_dict())


def dataset_upload(data: bytes) -> None:
    """A form with a zip, which passes through in pieces."""
    with _request(data, _FORM):
        arrived = ArchiveUpload()
        while arrived.read(4096):
            pass
        assert arrived.length <= len(data)


def forms() -> Iterator[bytes]:
    for name in ("image", "file", "accession_number"):
        part = f'Content-Disposition: form-data; name="{name}"'
        file = f'{part}; filename="x.png"\r\nContent-Type: image/png'
        for head in (part, file):
            yield f"--{BOUNDARY}\r\n{head}\r\n\r\nACC-1\r\n--{BOUNDARY}--\r\n".encode()


def stow(data: bytes) -> None:
    """A `multipart/related` body of DICOM files."""
    for _, part in Parts(io.BytesIO(data), BOUNDARY):
        part.close()


def stow_bodies() -> Iterator[bytes]:
    part = f"\r\n--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\nDICM".encode()
    yield part + part + f"\r\n--{BOUNDARY}--".encode()
    yield f"--{BOUNDARY}\r\n\r\n\r\n--{BOUNDARY}--".encode()


def dicom(data: bytes) -> None:
    """A DICOM file: its header, and its frames as images."""
    own = _settings()
    instance = read_instance(io.BytesIO(data), own, Inflation(own.max_request_bytes))
    for upload in uploads_of(instance, own):
        with upload.stream:
            assert MIN_SIDE**2 <= instance.rows * instance.columns <= MAX_PIXELS


def dicom_files() -> Iterator[bytes]:
    small = field(size=MIN_SIDE)
    for syntax in DICOM_SYNTAXES:
        yield in_syntax(syntax, small)
    yield in_syntax(uid.RLELossless, small, small)
    yield in_jpeg(small, comment=b"ACC-1")[0]
    described = Dataset()
    described.SpecimenIdentifier = "SPEC-1"
    yield dicom_bytes(small, small, SpecimenDescriptionSequence=[described])
    yield deflated_bomb(1)


def hl7(data: bytes) -> None:
    """An order message and its acknowledgement; and bytes as another's acknowledgement."""
    message: Message | None = None
    refusal = None
    try:
        message = read_message(data)
        own = _settings()
        read_orders(message, accession_field=own.hl7_accession_field, secret=own.pseudonym_secret)
    except Hl7Error as error:
        refusal = Refusal.of(error)
    acknowledge(message, refusal, at=utc_now())
    with suppress(CallFailedError):
        check_acknowledged(data.decode(errors="replace"), "MSG-1")


def hl7_messages() -> Iterator[bytes]:
    yield hl7_orders.placed("ACC-1", "ACC-2").encode()
    yield hl7_orders.message(*hl7_orders.order(control="CA"), charset="8859/1").encode("latin-1")
    yield b"MSH|^~\\&|A|B|C|D|20260102||ACK|1|P|2.5.1\rMSA|AE|MSG-1\rERR|||207\r"


def body(data: bytes) -> None:
    """JSON of an order, and JSON of a workitem."""
    with suppress(ValidationError):
        OrderIn.model_validate_json(data)
    dataset = read_dataset(data)
    with suppress(HemotriageError):
        read_changes(dataset, _settings())
    read_creation(dataset, _settings())


def bodies() -> Iterator[bytes]:
    yield json.dumps({"accession_number": "ACC-1", "priority": "stat"}).encode()
    workitem = {
        "00404041": {"vr": "CS", "Value": ["READY"]},
        "00404005": {"vr": "DT", "Value": ["20260102030405"]},
        "00741000": {"vr": "CS", "Value": ["SCHEDULED"]},
        "00741200": {"vr": "CS", "Value": ["HIGH"]},
        "00741204": {"vr": "LO", "Value": ["Smear"]},
        "0040A370": {"vr": "SQ", "Value": [{"00080050": {"vr": "SH", "Value": ["ACC-1"]}}]},
    }
    yield json.dumps(workitem).encode()
    yield json.dumps([workitem]).encode()


def archive(data: bytes) -> None:
    """A zip of class folders."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "upload.zip")
        path.write_bytes(data)
        extract(path, ClassFolders(Path(folder, "x")), max_bytes=1024**2, max_file_bytes=1024**2)


def archives() -> Iterator[bytes]:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as written:
            for label in LABELS:
                written.writestr(f"{label}/1.png", f"{label}" * 20)
        yield buffer.getvalue()


def token(data: bytes) -> None:
    """A JSON Web Token of anybody."""
    tokens = _tokens()
    text = data.decode("latin-1")
    if tokens.reads(text):
        tokens.verify(text)


@cache
def _tokens() -> Tokens:
    return Tokens(_settings())


def tokens() -> Iterator[bytes]:
    yield b"eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJodHRwOi8vMTI3LjAuMC4xOjkifQ.c2ln"
    yield b"eyJhbGciOiJub25lIn0.e30."


TARGETS = {
    "image": Target(image, images),
    "upload": Target(upload, forms),
    "dataset_upload": Target(dataset_upload, forms),
    "stow": Target(stow, stow_bodies),
    "dicom": Target(dicom, dicom_files),
    "hl7": Target(hl7, hl7_messages),
    "body": Target(body, bodies),
    "archive": Target(archive, archives),
    "token": Target(token, tokens),
}
"""By name, as `make fuzz` and var/fuzz have them."""

REFUSALS = (HemotriageError, HTTPException, ValidationError)
"""What a target may raise: each becomes a problem document, or an acknowledgement."""


def refuses_or_parses(name: str, data: bytes) -> None:
    """Give a target some bytes; whatever it raises beyond a refusal is a finding."""
    with suppress(*REFUSALS):
        TARGETS[name].parse(data)
