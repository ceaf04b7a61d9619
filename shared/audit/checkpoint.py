"""Checkpoints: what the hash of the chain was at a position, to be kept where nobody can change it.

A checkpoint has all events up to its position in it, by the one hash.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row

from shared.errors import BadRequestError

CHECKPOINTS_PREFIX = "audit/checkpoints/"

TAIL_KEY = "audit/tail.json"
"""The newest state of the chain, written over each time: what may be cut off is a second's."""

MOST_TAIL_BYTES = 64 * 1024
"""A checkpoint has some hundred; whoever writes to the store must not fill who reads there."""

CHECKPOINT_TEXT = """
    position, hash, (to_jsonb(at AT TIME ZONE 'UTC') #>> '{}') || 'Z' AS at, key_id, signature
"""

_CONTEXT = "hemotriage-audit-checkpoint-1"
_HASH_BYTES = 32
_SIGNATURE_BYTES = 64
_BEYOND = 2**63
"""No position of the database reaches this."""


class CheckpointError(BadRequestError):
    """This is no checkpoint of an audit trail."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of the chain at a moment.

    Attributes:
        position: The place of the last event in it.
        hash: The hash of the chain there, 32 bytes.
        at: When it was made, by the database's clock; UTC, RFC 3339.
        key_id: Which key signed it; None: unsigned.
        signature: Ed25519 (RFC 8032) of `message`, 64 bytes.
    """

    position: int
    hash: bytes
    at: str
    key_id: str | None = None
    signature: bytes | None = None

    @property
    def message(self) -> bytes:
        """What is signed."""
        lines = (_CONTEXT, str(self.position), self.hash.hex(), self.at, self.key_id or "", "")
        return "\n".join(lines).encode()

    @property
    def document(self) -> dict[str, Any]:
        """The checkpoint as JSON has it: the hash in hexadecimal, the signature in base64."""
        signature = self.signature and base64.b64encode(self.signature).decode()
        return {
            "position": self.position,
            "hash": self.hash.hex(),
            "at": self.at,
            "key_id": self.key_id,
            "signature": signature,
        }

    @property
    def key(self) -> str:
        """Its key in the object store: in the order of positions, and another for another hash."""
        return key_of_place(self.position, self.hash)

    @property
    def data(self) -> bytes:
        """The bytes of its object."""
        return json.dumps(self.document, indent=1).encode() + b"\n"


def checkpoint_of(document: Mapping[str, Any]) -> Checkpoint:
    """Read what `Checkpoint.document` has made.

    Raises:
        CheckpointError: It is none.
    """
    try:
        signature = document["signature"]
        found = Checkpoint(
            position=document["position"],
            hash=bytes.fromhex(document["hash"]),
            at=str(document["at"]),
            key_id=document["key_id"],
            signature=None if signature is None else base64.b64decode(signature, validate=True),
        )
        _ = found.message  # not all that is JSON can be signed
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(type(error).__name__) from error
    if type(found.position) is not int or not 0 <= found.position < _BEYOND:
        raise CheckpointError
    if len(found.hash) != _HASH_BYTES or not isinstance(found.key_id, str | None):
        raise CheckpointError
    if found.signature is not None and len(found.signature) != _SIGNATURE_BYTES:
        raise CheckpointError
    return found


def read_checkpoint(data: str | bytes) -> Checkpoint:
    """Read the text of an object or a file.

    Raises:
        CheckpointError: It is no checkpoint.
    """
    try:
        document = json.loads(data)
    except ValueError as error:
        raise CheckpointError from error
    return checkpoint_of(document)


def checkpoint_of_row(row: Row[Any]) -> Checkpoint:
    """The checkpoint of a row that `CHECKPOINT_TEXT` was selected for."""
    signature = None if row.signature is None else bytes(row.signature)
    return Checkpoint(row.position, bytes(row.hash), row.at, row.key_id, signature)


def key_of_place(position: int, digest: bytes) -> str:
    """The key of a checkpoint's object."""
    return f"{CHECKPOINTS_PREFIX}{position:019d}-{digest.hex()}.json"


def place_of_key(key: str) -> tuple[int, bytes] | None:
    """Position and hash that the key of a checkpoint's object tells; None where it is none."""
    position, _, digest = key.removeprefix(CHECKPOINTS_PREFIX).removesuffix(".json").partition("-")
    try:
        place = int(position), bytes.fromhex(digest)
    except ValueError:
        return None
    return place if 0 <= place[0] < _BEYOND else None
