"""The error tree.

Each error has a stable `code` and an `http_status`; its docstring is the message that a client
reads. A `PermanentError` fails a job at once, a `TransientError` lets it be tried again.
"""

from __future__ import annotations

import inspect
from http import HTTPStatus


class HemotriageError(Exception):
    """Something went wrong."""

    code = "internal_error"
    http_status = HTTPStatus.INTERNAL_SERVER_ERROR
    retry_after_seconds: int | None = None

    def __init__(self, detail: str | None = None) -> None:
        self.title = inspect.getdoc(type(self)) or self.code
        self.detail = detail
        super().__init__(f"{self.title} {detail}" if detail else self.title)

    def __reduce__(self) -> tuple[type[HemotriageError], tuple[str | None]]:
        """How it travels between processes."""
        return type(self), (self.detail,)


class AttemptCrashedError(HemotriageError):
    """The process that worked on the job crashed."""

    code = "attempt_crashed"


class AttemptHungError(AttemptCrashedError):
    """The work on the job went on beyond its limit and was ended."""

    code = "attempt_hung"


class PermanentError(HemotriageError):
    """The request cannot succeed as it stands."""

    code = "permanent_error"
    http_status = HTTPStatus.UNPROCESSABLE_ENTITY


class DoubtfulError(PermanentError):
    """The work cannot succeed, unless it was its process that failed: it is done again, alone."""

    code = "doubtful"
    http_status = HTTPStatus.INTERNAL_SERVER_ERROR


class TransientError(HemotriageError):
    """A part of the service is not available; try again later."""

    code = "unavailable"
    http_status = HTTPStatus.SERVICE_UNAVAILABLE
    retry_after_seconds = 5


class BadRequestError(PermanentError):
    """The request is malformed."""

    code = "bad_request"
    http_status = HTTPStatus.BAD_REQUEST


class ImageError(PermanentError):
    """The image cannot be used."""

    code = "image_unusable"


class EmptyFileError(ImageError):
    """The file is empty."""

    code = "empty_file"


class UnsupportedMediaTypeError(ImageError):
    """The file is no image of a supported type (JPEG, PNG, TIFF, BMP, WebP)."""

    code = "unsupported_media_type"
    http_status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


class CorruptImageError(ImageError):
    """The image data is truncated or damaged."""

    code = "corrupt_image"


class ImageTooComplexError(ImageError):
    """The image file is made of more pieces than a camera writes."""

    code = "image_too_complex"


class ImageTooLargeError(ImageError):
    """The image has more pixels than the limit allows."""

    code = "too_many_pixels"
    http_status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class ImageTooSmallError(ImageError):
    """The image is too small to show cells."""

    code = "too_few_pixels"


class UnsupportedPixelFormatError(ImageError):
    """The image is not opaque 8-bit RGB; what is 16-bit, CMYK or grey is never guessed at."""

    code = "unsupported_pixel_format"


class AnimatedImageError(ImageError):
    """The image has more than one frame; send each field as an image of its own."""

    code = "animated_image"


class RotatedImageError(ImageError):
    """The image carries an EXIF rotation; send the pixels upright."""

    code = "exif_rotated"


class PayloadTooLargeError(PermanentError):
    """The upload is larger than the limit allows."""

    code = "payload_too_large"
    http_status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class TooManyFilesError(PayloadTooLargeError):
    """The job has more images than the limit allows."""

    code = "too_many_files"


class UnknownModelError(PermanentError):
    """No such model, version or alias."""

    code = "unknown_model"


class ModelArtefactError(PermanentError):
    """A model's files are missing or are not those that its card describes."""

    code = "model_artefact_invalid"
    http_status = HTTPStatus.INTERNAL_SERVER_ERROR


class PretrainedWeightsError(PermanentError):
    """The pretrained weights of a backbone cannot be had."""

    code = "pretrained_weights_missing"
    http_status = HTTPStatus.INTERNAL_SERVER_ERROR


class DatasetError(PermanentError):
    """The folder is not a usable data set: one folder a class, with images in it, is expected."""

    code = "dataset_invalid"


class NotFoundError(PermanentError):
    """There is no such thing here."""

    code = "not_found"
    http_status = HTTPStatus.NOT_FOUND


class ConflictError(PermanentError):
    """The state does not allow this."""

    code = "conflict"
    http_status = HTTPStatus.CONFLICT


class NoResultError(ConflictError):
    """The job has no result."""

    code = "no_result"


class IdempotencyConflictError(ConflictError):
    """This Idempotency-Key was used before with another request."""

    code = "idempotency_key_reused"


class UnauthorizedError(PermanentError):
    """A valid API key is needed: `Authorization: Bearer KEY`."""

    code = "unauthorized"
    http_status = HTTPStatus.UNAUTHORIZED


class KeyExpiredError(UnauthorizedError):
    """The API key has expired."""

    code = "key_expired"


class KeyRevokedError(UnauthorizedError):
    """The API key was revoked."""

    code = "key_revoked"


class ForbiddenError(PermanentError):
    """The API key lacks the scope that this call needs."""

    code = "forbidden"
    http_status = HTTPStatus.FORBIDDEN


class NotAcceptableError(PermanentError):
    """The result is not available in the form that `Accept` asks for."""

    code = "not_acceptable"
    http_status = HTTPStatus.NOT_ACCEPTABLE
