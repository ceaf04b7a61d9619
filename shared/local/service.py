"""The whole service on this machine: the servers, and our own processes on top of them."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import psutil

from shared.db.roles.table import OWNER, Role
from shared.local.errors import LocalServiceError
from shared.local.lifecycle import Startable
from shared.local.ports import HOST, free_ports, is_free
from shared.local.process import LocalProcess, ProcessSpec
from shared.local.secrets import write_private
from shared.local.servers import LocalServers
from shared.parent import dying_with_parent

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Application:
    """One of our processes: its arguments of `python -m`, database role, and own settings."""

    module: tuple[str, ...]
    role: Role
    settings: Mapping[str, str] = field(default_factory=dict)


def _explainer(method: str) -> Application:
    settings = {"HEMOTRIAGE_ENGINE": "openvino", "HEMOTRIAGE_EXPLAINER_METHODS": method}
    return Application(("services.worker.explainer",), Role.EXPLAINER, settings)


APPLICATIONS = {
    "api": Application(("services.api.main",), Role.API),
    "worker": Application(("services.worker.main",), Role.WORKER),
    # Reserved: however long the others' queues are, a stat job finds it free.
    "worker-stat": Application(
        ("services.worker.main",),
        Role.WORKER,
        {"HEMOTRIAGE_WORKER_QUEUES": "stat", "HEMOTRIAGE_WORKER_THREADS": "4"},
    ),
    # Whatever engine the workers run: only this one gives the maps that it explains by.
    "explainer": _explainer("gradcam"),
    "explainer-lime": _explainer("lime"),
    # Looks at what others have answered while there is a challenger, and idles otherwise.
    "shadow": Application(("services.worker.shadow",), Role.SHADOW),
    "trainer": Application(("services.trainer.main",), Role.TRAINER),
    "relay": Application(("services.cli", "relay"), Role.RELAY),
    "retention": Application(("services.cli", "retention", "watch"), Role.RETENTION),
}
"""Our processes by name."""

_AT_ONCE = frozenset({"api", "worker", "worker-stat"})
"""What a job needs to be answered; the others are started once these are ready."""

_GATEWAY = Application(("services.gateway.main",), Role.GATEWAY)

LOCAL_KEY_SCOPES = "submit,read,review,admin"
_COMMAND_LINE = "services.cli"
_PREFERRED_PORT = 8000
_SUPERVISION_SECONDS = 0.5
_RESTART_PAUSE_SECONDS = 2.0
_GRACE_SECONDS = 40.0  # longer than API and workers give what they run


class LocalService(Startable):
    """Servers, and all processes of ours; what they keep is under one folder.

    Use it from the main thread.
    """

    def __init__(self, root: Path, *, settings: Mapping[str, str] | None = None) -> None:
        """Prepare a service.

        Args:
            root: The folder.
            settings: Environment variables for our processes, besides those of this process.
        """
        self._root = root.resolve()
        self._settings = dict(settings or {})
        self.servers = LocalServers(self._root)
        self.applications: dict[str, LocalProcess] = {}
        self._started_at: dict[str, float] = {}
        self.url = ""
        self.api_key = ""

    def start(self) -> None:
        """Start everything and wait until a job can be answered.

        Raises:
            LocalServiceError: A process does not come up; the end of its log is told.
        """
        self.servers.start()
        try:
            self._write_environments()
            self._run(OWNER, "migrate")
            earlier = self._earlier()
            port = self._choose_port(earlier)
            self.url = f"http://{HOST}:{port}"
            for name in _AT_ONCE:
                self._start_application(name, APPLICATIONS[name], port)
            for name in _AT_ONCE:
                self.applications[name].wait_ready()
            self.api_key = self._usable_key(earlier)
            for name in APPLICATIONS.keys() - _AT_ONCE:
                self._start_application(name, APPLICATIONS[name], port)
            self._start_gateway(port)
            document = json.dumps({"url": self.url, "api_key": self.api_key})
            write_private(self._root / "local.json", document)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop our processes, then the servers."""
        for process in self.applications.values():
            process.ask_to_stop()
        for process in self.applications.values():
            process.wait_stopped()
        self.servers.stop()

    def supervise(self, stop: threading.Event) -> None:
        """Restart what dies until `stop` is set; what does not come up is tried again."""
        while not stop.wait(_SUPERVISION_SECONDS):
            try:
                self.ensure_alive()
            except (LocalServiceError, OSError, psutil.Error) as error:
                _log.error("%s", error)

    def ensure_alive(self) -> None:
        """Restart what has died; one that keeps dying is started at a measured pace."""
        try:
            self.servers.ensure_alive()
        finally:  # a server that does not come up keeps none of our own processes down
            for name, process in self.applications.items():
                waited = time.monotonic() - self._started_at[name]
                if not process.is_running() and waited > _RESTART_PAUSE_SECONDS:
                    _log.warning("restarting %s; its log is %s", name, process.spec.log)
                    self._launch(process)

    def environment(self, role: str = OWNER) -> dict[str, str]:
        """The settings of our processes; the database is asked as a role, see `LocalServers`."""
        # The local object store speaks no TLS, whatever one that is configured elsewhere does.
        return {
            **self.servers.environment(role),
            "HEMOTRIAGE_S3_SECURE": "false",
            # Nor does its API, which this machine alone reaches.
            "HEMOTRIAGE_API_TLS_CERTIFICATE": "",
            "HEMOTRIAGE_API_TLS_KEY": "",
            "HEMOTRIAGE_TRAINER_WORK": str(self._root / "trainer"),
            "HEMOTRIAGE_REGISTRY_DIR": str(self._root / "registry"),
            **self._settings,
        }

    def _write_environments(self) -> None:
        """Leave what commands need: as the operator, and addresses of the roles of some of them."""
        environment = json.dumps(self.environment(Role.OPERATOR))
        write_private(self._root / "environment.json", environment)
        roles = (OWNER, Role.RETENTION, Role.BACKUP)
        urls = {role: self.environment(role)["HEMOTRIAGE_DATABASE_URL"] for role in roles}
        write_private(self._root / "roles.json", json.dumps(urls))

    def _start_gateway(self, port: int) -> None:
        """Start the gateway where a port is set for it; jobs and orders are the local key's."""
        given = {**os.environ, **self.environment()}
        parts = ("HEMOTRIAGE_DICOM", "HEMOTRIAGE_HL7")
        if all(given.get(f"{part}_PORT", "0") == "0" for part in parts):
            return
        own = self.api_key.split("_")[1]
        keys = [f"{part}_API_KEY_ID" for part in parts]
        settings = {key: given.get(key) or own for key in keys}
        self._start_application("gateway", replace(_GATEWAY, settings=settings), port)

    def _start_application(self, name: str, application: Application, port: int) -> None:
        ready_url = f"{self.url}/readyz"
        spec = ProcessSpec(
            name=name,
            command=[sys.executable, "-m", *application.module],
            log=self._root / "log" / f"{name}.log",
            environment={
                **self.environment(application.role),
                **application.settings,
                **self._metrics_port(name),
                "HEMOTRIAGE_API_PORT": str(port),
            },
            is_ready=lambda: _answers_ok(ready_url),
            grace_seconds=_GRACE_SECONDS,
        )
        self.applications[name] = LocalProcess(spec)
        self._launch(self.applications[name])

    def _metrics_port(self, name: str) -> dict[str, str]:
        """A port for each process, from the one that is set, in the order of `APPLICATIONS`."""
        given = {**os.environ, **self.environment()}
        first = int(given.get("HEMOTRIAGE_METRICS_PORT", "0"))
        if not first:
            return {}
        place = [*APPLICATIONS, "gateway"].index(name)
        return {"HEMOTRIAGE_METRICS_PORT": str(first + place)}

    def _launch(self, process: LocalProcess) -> None:
        process.start()
        self._started_at[process.spec.name] = time.monotonic()
        running = [*self.servers.processes.values(), *self.applications.values()]
        self.servers.run_folder.remember(running)

    def _earlier(self) -> dict[str, str]:
        """Address and key of the last run; empty where there was none."""
        path = self._root / "local.json"
        found: dict[str, str] = json.loads(path.read_text()) if path.is_file() else {}
        return found

    def _choose_port(self, earlier: dict[str, str]) -> int:
        configured = self.environment().get("HEMOTRIAGE_API_PORT") or os.environ.get(
            "HEMOTRIAGE_API_PORT"
        )
        if configured:
            return int(configured)
        last = httpx.URL(earlier.get("url", "")).port
        for port in (last, _PREFERRED_PORT):
            if port is not None and is_free(port):
                return port
        return free_ports(1)[0]

    def _usable_key(self, earlier: dict[str, str]) -> str:
        """The key of the last run if it still works, or a new one."""
        key = earlier.get("api_key")
        if key and _answers_ok(f"{self.url}/v1/jobs?limit=1", key):
            return key
        return self._run(
            Role.OPERATOR, "keys", "create", "--name=local", f"--scopes={LOCAL_KEY_SCOPES}"
        ).strip()

    def _run(self, role: str, *arguments: str) -> str:
        done = subprocess.run(  # noqa: S603 - our own command line
            [sys.executable, "-m", _COMMAND_LINE, *arguments],
            env={**os.environ, **self.environment(role)},
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=dying_with_parent(signal.SIGKILL),
        )
        if done.returncode != 0:
            raise LocalServiceError(f"hemotriage {arguments[0]} failed: {done.stderr}")
        return done.stdout


def _answers_ok(url: str, key: str | None = None) -> bool:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        # The environment may name a proxy, which cannot reach this machine's own address.
        with httpx.Client(trust_env=False, timeout=5) as client:
            return client.get(url, headers=headers).status_code == 200
    except httpx.HTTPError:
        return False
