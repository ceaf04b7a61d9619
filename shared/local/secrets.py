"""Passwords and ports of the local servers: made at the first start and kept for the owner."""

from __future__ import annotations

import base64
import json
import os
import secrets
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from shared.db.roles.table import Role
from shared.local.ports import GRPC_OFFSET, free_ports, is_free

_SEAWEEDFS_COMPONENTS = ("master", "volume", "filer", "s3", "admin")


@dataclass(frozen=True)
class LocalSecrets:
    """What the servers of one folder were given."""

    postgres_password: str
    valkey_password: str
    s3_access_key: str
    s3_secret_key: str
    postgres_port: int
    valkey_port: int
    seaweedfs_ports: dict[str, int]
    console_secret: str
    audit_signing_key: str
    role_passwords: dict[str, str]


def load_or_make_secrets(path: Path) -> LocalSecrets:
    """Read or make passwords and ports; ports that others took meanwhile are chosen anew."""
    if path.is_file():
        # What a folder of an earlier version lacks is made.
        made, found = asdict(_make()), json.loads(path.read_text())
        found["role_passwords"] = made["role_passwords"] | found.get("role_passwords", {})
        found = {**made, **found}
        kept = _with_free_ports(LocalSecrets(**found))
    else:
        kept = _make()
    write_private(path, json.dumps(asdict(kept), indent=1))
    return kept


def write_private(path: Path, text: str) -> None:
    """Write a file that its owner alone can read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    with draft.open("w") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    draft.replace(path)


def _make() -> LocalSecrets:
    # All at once: nothing listens yet, so that two draws could find the same port.
    postgres, valkey, *seaweedfs = free_ports(2 + len(_SEAWEEDFS_COMPONENTS), paired=True)
    return LocalSecrets(
        postgres_password=secrets.token_urlsafe(24),
        valkey_password=secrets.token_urlsafe(24),
        s3_access_key=secrets.token_hex(10),
        s3_secret_key=secrets.token_urlsafe(30),
        postgres_port=postgres,
        valkey_port=valkey,
        seaweedfs_ports=dict(zip(_SEAWEEDFS_COMPONENTS, seaweedfs, strict=True)),
        console_secret=secrets.token_urlsafe(32),
        # Any 32 bytes are a key of Ed25519.
        audit_signing_key=base64.b64encode(secrets.token_bytes(32)).decode(),
        role_passwords={role.value: secrets.token_urlsafe(24) for role in Role},
    )


def _with_free_ports(found: LocalSecrets) -> LocalSecrets:
    made = _make()
    if not is_free(found.postgres_port):
        found = replace(found, postgres_port=made.postgres_port)
    if not is_free(found.valkey_port):
        found = replace(found, valkey_port=made.valkey_port)
    ports = found.seaweedfs_ports.values()
    if not all(is_free(port) and is_free(port + GRPC_OFFSET) for port in ports):
        found = replace(found, seaweedfs_ports=made.seaweedfs_ports)
    return found
