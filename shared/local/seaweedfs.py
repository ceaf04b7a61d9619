"""SeaweedFS out of its wheel: the S3 object store."""

from __future__ import annotations

import io
import signal
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import urllib3
from minio import Minio
from minio.error import MinioException

from shared.local.errors import LocalServiceError
from shared.local.ports import GRPC_OFFSET, HOST
from shared.local.process import ProcessSpec
from shared.parent import dying_with_parent

BUCKET = "hemotriage"
_SHELL_SECONDS = 30
_PROBE = "readiness"
_PROBE_SECONDS = 2
_FSYNC = "fs.configure -locationPrefix=/buckets/ -fsync=true -apply\n"


@dataclass(frozen=True)
class SeaweedFS:
    """One SeaweedFS with all of its components in a process; `ports` has one for each."""

    data: Path
    log: Path
    ports: dict[str, int]
    access_key: str
    secret_key: str

    @property
    def endpoint(self) -> str:
        """Host and port of the S3 interface."""
        return f"{HOST}:{self.ports['s3']}"

    def spec(self) -> ProcessSpec:
        """Say how to run it.

        The filer's HTTP port would serve any object to anybody, so it is disabled; telemetry is on
        by default, and the admin's page is not wanted.
        """
        self.data.mkdir(parents=True, exist_ok=True)
        ports = [
            option
            for component, port in self.ports.items()
            for option in (
                f"-{component}.port={port}",
                f"-{component}.port.grpc={port + GRPC_OFFSET}",
            )
        ]
        return ProcessSpec(
            name="seaweedfs",
            command=[
                str(_program()),
                "mini",
                f"-dir={self.data}",
                f"-ip={HOST}",
                f"-ip.bind={HOST}",
                *ports,
                "-disableHttp",
                "-master.telemetry=false",
                "-s3.autoCreateBucket=false",
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                "-webdav=false",
                "-admin.ui=false",
            ],
            log=self.log,
            is_ready=self._is_ready,
            environment={
                "AWS_ACCESS_KEY_ID": self.access_key,
                "AWS_SECRET_ACCESS_KEY": self.secret_key,
            },
            cwd=self.data,
        )

    def make_durable(self) -> None:
        """Have the bytes of every object synced to disk before it is acknowledged; not its index.

        Raises:
            LocalServiceError: The setting was not taken.
        """
        master, filer = (
            f"{HOST}:{self.ports[name]}.{self.ports[name] + GRPC_OFFSET}"
            for name in ("master", "filer")
        )
        done = subprocess.run(  # noqa: S603 - our own command line
            [str(_program()), "shell", f"-master={master}", f"-filer={filer}"],
            input=_FSYNC,
            capture_output=True,
            text=True,
            timeout=_SHELL_SECONDS,
            check=False,
            cwd=self.data,
            preexec_fn=dying_with_parent(signal.SIGKILL),
        )
        if done.returncode != 0 or '"fsync":  true' not in done.stdout:
            raise LocalServiceError(f"fs.configure failed: {done.stdout} {done.stderr}")

    def _is_ready(self) -> bool:
        """Whether an object can be written and read back.

        `/healthz` answers earlier, while the volumes are not yet known and every read fails.
        """
        client = Minio(
            self.endpoint,
            access_key=self.access_key,
            secret_key=self.secret_key,
            secure=False,
            region="us-east-1",
            http_client=urllib3.PoolManager(timeout=_PROBE_SECONDS, retries=False),
        )
        try:
            if not client.bucket_exists(_PROBE):
                client.make_bucket(_PROBE)
            client.put_object(_PROBE, _PROBE, io.BytesIO(b"ready"), 5)
            return bytes(client.get_object(_PROBE, _PROBE).data) == b"ready"
        except (MinioException, urllib3.exceptions.HTTPError, OSError):
            return False


def _program() -> Path:
    return Path(sysconfig.get_path("scripts")) / "weed"
