"""Certificates that vouch for themselves, for this machine's own address or another's."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="openssl makes the certificate"
)


@dataclass(frozen=True)
class Certificate:
    """Two PEM files."""

    file: Path
    key: Path


def make_certificate(folder: Path, name: str, host: str = "IP:127.0.0.1") -> Certificate:
    """Make a certificate of a host and its key."""
    made = Certificate(folder / f"{name}.pem", folder / f"{name}-key.pem")
    make = "req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1"
    subject = ["-subj", f"/CN={name}", "-addext", f"subjectAltName={host}"]
    files = ["-keyout", str(made.key), "-out", str(made.file)]
    subprocess.run(["openssl", *make.split(), *subject, *files], check=True, capture_output=True)
    return made
