"""Signatures of checkpoints: Ed25519 (RFC 8032)."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from shared.audit.checkpoint import Checkpoint
from shared.errors import BadRequestError

_KEY_BYTES = 32
_ID_CHARACTERS = 16


class AuditKeyError(BadRequestError):
    """This is no key of an audit trail: base64 of 32 bytes is expected."""


class Signature(StrEnum):
    """What a checkpoint's signature is."""

    VALID = "valid"
    UNSIGNED = "unsigned"
    # By a key that is none of ours, whether or not it is right.
    UNKNOWN = "unknown"
    # In the name of one of our keys, and not by it.
    FORGED = "forged"


class SigningKey:
    """Signs; kept from everybody but the relay."""

    def __init__(self, text: str) -> None:
        """Read a key.

        Raises:
            AuditKeyError: It is none.
        """
        self._key = Ed25519PrivateKey.from_private_bytes(_bytes_of(text))

    @classmethod
    def generate(cls) -> tuple[str, SigningKey]:
        """Make a key; returns its text, too."""
        text = base64.b64encode(Ed25519PrivateKey.generate().private_bytes_raw()).decode()
        return text, cls(text)

    @property
    def public(self) -> str:
        """What checks its signatures, in base64."""
        return base64.b64encode(self._key.public_key().public_bytes_raw()).decode()

    def sign(self, checkpoint: Checkpoint) -> Checkpoint:
        """The same checkpoint, signed."""
        named = replace(checkpoint, key_id=_id_of(self._key.public_key()))
        return replace(named, signature=self._key.sign(named.message))


class PublicKeys:
    """Keys that a checkpoint may be signed by."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Read keys.

        Raises:
            AuditKeyError: One of them is none.
        """
        keys = [Ed25519PublicKey.from_public_bytes(_bytes_of(text)) for text in texts]
        self._keys = {_id_of(key): key for key in keys}

    def judge(self, checkpoint: Checkpoint) -> Signature:
        """What its signature is."""
        if checkpoint.key_id is None or checkpoint.signature is None:
            return Signature.UNSIGNED
        key = self._keys.get(checkpoint.key_id)
        if key is None:
            return Signature.UNKNOWN
        try:
            key.verify(checkpoint.signature, checkpoint.message)
        except InvalidSignature:
            return Signature.FORGED
        return Signature.VALID


def _bytes_of(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise AuditKeyError from error
    if len(data) != _KEY_BYTES:
        raise AuditKeyError
    return data


def _id_of(key: Ed25519PublicKey) -> str:
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:_ID_CHARACTERS]
