"""Why a DICOM file is refused. No detail quotes a value of its header."""

from __future__ import annotations

from http import HTTPStatus

from shared.errors import ImageError


class CorruptDicomError(ImageError):
    """The DICOM file is truncated, damaged or lacks what an image must have."""

    code = "corrupt_dicom"


class UnsupportedSopClassError(ImageError):
    """The DICOM file is of a SOP class that is not taken."""

    code = "unsupported_sop_class"
    http_status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


class UnsupportedTransferSyntaxError(ImageError):
    """The DICOM file is in a transfer syntax that is not taken."""

    code = "unsupported_transfer_syntax"
    http_status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


class BurnedInAnnotationError(ImageError):
    """The DICOM file says that its pixels hold text, which may name a patient."""

    code = "burned_in_annotation"


class MixedSpecimensError(ImageError):
    """The DICOM files are of several patients, orders or specimens; a job is about one."""

    code = "mixed_specimens"


class DicomFieldError(ImageError):
    """An identifier in the DICOM header is too long or has control characters."""

    code = "validation_failed"
