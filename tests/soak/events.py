"""What happens to the service while the load goes on, each really done to real processes."""

from __future__ import annotations

import io
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from shared.jobs.ids import new_job_id
from shared.local.service import APPLICATIONS
from shared.storage import image_key
from tests.command_line import command_line
from tests.datasets import drawn, zipped
from tests.faults.world import World, kill
from tests.soak.load import OpenLoad
from tests.trainings import TINY

OTHER = ("student", 2)
CHALLENGER = ("cnn_custom", 1)
PER_CLASS = 6
_PATIENCE_SECONDS = 120.0
_TRAINING_SECONDS = 900.0
_CONNECTION = r"ConnectError|ReadError|RemoteProtocolError|WriteError"
_AWAY = ("waiting for ", "waits? for ", "looked for later", "sealed later", "no heartbeat")
_DATABASE_AWAY = (
    *_AWAY,
    "^api: .*database unavailable",
    "nothing is told",
    "^worker.*no champion is loaded",
    "^postgres: .*(terminating connection|shutting down|starting up)",
)
_BROKER_AWAY = (
    *_AWAY,
    "^worker.*(consumer: |CPendingDeprecationWarning)",
    "messages were lost",
)
_STORE_AWAY = (
    *(*_AWAY, "urllib3.connectionpool.*Retrying", "^api: .*storage"),
    # Its parts leave and return one after the other, and each says which of the others it misses:
    # whoever wrote or read an object meanwhile tries again.
    r"^seaweedfs: .*code = (Unavailable|Canceled)",
    r"^seaweedfs: .*volume \d+ not found",
)
_WORKER_LEAVES = ("Requeuing undeliverable message",)
_WORKERS = ("worker", "worker-stat")


class Ground:
    """What an event acts on."""

    def __init__(self, world: World, load: OpenLoad, second_key: str) -> None:
        self.world = world
        self.load = load
        self.notes: list[str] = []
        self.complaints: list[str] = []
        self.dataset_id = ""
        self.training_id = ""
        self.orphan = ""
        self._second_key = second_key

    def ask(self, method: str, path: str, expected: int, **given: Any) -> dict[str, Any]:
        """Call the API as an administrator; another status is a complaint."""
        service = self.world.service
        headers = {"Authorization": f"Bearer {service.api_key}", **given.pop("headers", {})}
        with httpx.Client(base_url=service.url, trust_env=False, timeout=30) as http:
            answer = http.request(method, path, headers=headers, **given)
        self.require(answer.status_code == expected, f"{path}: {answer.status_code} {answer.text}")
        found: dict[str, Any] = answer.json() if answer.content else {}
        return found

    def set_alias(self, alias: str, name: str, version: int) -> None:
        """Promote a version without a gate, by two administrators."""
        body: dict[str, Any] = {"version": version}
        if alias == "champion":
            body["reason"] = "a soak"
        headers = {"X-Second-Key": self._second_key}
        path = f"/v1/models/{name}/aliases/{alias}"
        self.ask("PUT", path, 200, json=body, headers=headers)

    def ended(self, path: str, seconds: float) -> dict[str, Any]:
        """Wait until something is neither queued nor running."""
        found: dict[str, Any] = {}

        def has_ended() -> bool:
            time.sleep(0.5)
            found.update(self.ask("GET", path, 200))
            return found["status"] not in ("queued", "running")

        ended = self.world.wait(seconds, until=has_ended)
        self.require(ended, f"{path} has not ended after {seconds:.0f} s")
        return found

    def require(self, holds: bool, otherwise: str) -> None:
        """Note that something did not happen as it must."""
        if not holds:
            self.complaints.append(otherwise)


@dataclass(frozen=True)
class Event:
    """One thing that happens.

    Attributes:
        name: What it is called.
        act: Does it.
        lines: Patterns of log lines that it explains, see `tests.soak.logs.Window`.
        answers: Patterns of answers to clients that it explains.
        breaks: Roles whose memory may rightly change with it, beside those whose process it ends.
        disturbs: Whether jobs may wait for it.
    """

    name: str
    act: Callable[[Ground], None]
    lines: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    breaks: tuple[str, ...] = ()
    disturbs: bool = True


def restart(name: str) -> Event:
    """One of our processes is asked to stop, and started again."""

    def act(ground: Ground) -> None:
        process = ground.world.service.applications[name]
        began = time.monotonic()
        process.stop()
        ground.notes.append(f"{name} stopped in {time.monotonic() - began:.1f} s")
        ground.require(process.exit_code == 0, f"{name} ended with {process.exit_code}")
        _wait_until_well(ground)

    answers = (_CONNECTION,) if name == "api" else ()
    lines = _WORKER_LEAVES if name in _WORKERS else ()
    return Event(f"{name}-restarted", act, lines=lines, answers=answers, breaks=("postgres",))


def restart_server(name: str, lines: tuple[str, ...]) -> Event:
    """A server is stopped in order, and started again; whoever is connected sees it end."""

    def act(ground: Ground) -> None:
        ground.world.named(name)[0].stop()
        _wait_until_well(ground)

    return Event(f"{name}-restarted", act, lines=lines, answers=("503",), breaks=("",))


def kill_worker(ground: Ground) -> None:
    """A worker dies with jobs in its hands."""
    kill([ground.world.service.applications["worker"]])
    _wait_until_well(ground)


def reload_api(ground: Ground) -> None:
    """The API starts new processes, and ends the old ones when they have answered."""
    os.kill(ground.world.service.applications["api"].pid, signal.SIGHUP)
    _wait_until_well(ground)


def promote(ground: Ground) -> None:
    """Another version becomes champion."""
    ground.set_alias("champion", *OTHER)


def roll_back(ground: Ground) -> None:
    """The champion before is champion again."""
    ground.ask("POST", "/v1/models/rollback", 200)


def challenge(ground: Ground) -> None:
    """A version looks on."""
    ground.set_alias("challenger", *CHALLENGER)


def retire(ground: Ground) -> None:
    """It looks on no more; meanwhile it has."""
    seen = ground.world.query("SELECT count(*) FROM shadow_results")[0][0]
    ground.notes.append(f"{seen} jobs seen by the challenger")
    ground.ask("DELETE", "/v1/models/aliases/challenger", 200)


def import_dataset(ground: Ground) -> None:
    """A data set is uploaded and imported."""
    files = {name: data for n in range(PER_CLASS) for name, data in drawn(100 * (n + 1)).items()}
    headers = {"Content-Type": "application/zip"}
    asked = ground.ask("POST", "/v1/datasets", 202, content=zipped(files), headers=headers)
    ground.dataset_id = asked["id"]
    found = ground.ended(f"/v1/datasets/{asked['id']}", _PATIENCE_SECONDS)
    ground.require(found["status"] == "ready", f"the data set is {found['status']}")


def train(ground: Ground) -> None:
    """The smallest network is trained beside the load, with what that leaves it."""
    body = {"architecture": "cnn_custom", "dataset_id": ground.dataset_id, "overrides": TINY}
    ground.training_id = str(ground.ask("POST", "/v1/trainings", 202, json=body).get("id"))


def await_training(ground: Ground) -> None:
    """At the end: the training has succeeded, and its version is registered."""
    found = ground.ended(f"/v1/trainings/{ground.training_id}", _TRAINING_SECONDS)
    ground.require(found["status"] == "succeeded", f"the training is {found['status']}")
    ground.notes.append(f"{found.get('registered')} was trained")


def rotate_key(ground: Ground) -> None:
    """The clients' key gets a successor, which they use from then on."""
    key_id = ground.world.service.api_key.split("_")[1]
    environment = ground.world.service.environment()
    made = command_line("keys", "rotate", key_id, **environment)
    ground.require(made.returncode == 0, made.stderr)
    ground.load.use_key(made.stdout.split()[-1])


def leave_orphan(ground: Ground) -> None:
    """An object is left that belongs to no job; the sweep must take it."""
    store, bucket = ground.world.bucket()
    ground.orphan = image_key(new_job_id(), 0)
    store.put_object(bucket, ground.orphan, io.BytesIO(b"orphan"), 6)


def back_up(ground: Ground) -> None:
    """A backup is made, by the service's own command."""
    folder = ground.world.folder / "backup"
    done = command_line("backup", folder, **ground.world.service.environment())
    ground.require(done.returncode == 0, f"backup: {done.stderr[-200:]}")


def _wait_until_well(ground: Ground) -> None:
    well = ground.world.wait(_PATIENCE_SECONDS, until=ground.world.is_ready)
    ground.require(well, "the service does not become well again")


_LOADS = (*_WORKERS, "explainer", "worker, children", "worker-stat, children")
PROMOTIONS = [
    Event("promoted", promote, breaks=_LOADS),
    Event("rolled-back", roll_back, breaks=_LOADS),
]
# First of all, and the one that fills longest first: they are to be seen full.
SERVERS = [
    restart_server("seaweedfs", _STORE_AWAY),
    restart_server("postgres", _DATABASE_AWAY),
    restart_server("valkey", _BROKER_AWAY),
]
RESTARTS = [
    Event("api-reloaded", reload_api, answers=(_CONNECTION,), breaks=("postgres",)),
    *(restart(name) for name in APPLICATIONS),
    Event(
        "worker-killed",
        kill_worker,
        lines=("leases ran out", "job swept", "messages were lost"),
        breaks=("postgres",),
    ),
]
WORK = [
    Event("imported", import_dataset, disturbs=False, breaks=("trainer",)),
    Event("training-begun", train, disturbs=False, breaks=("trainer",)),
    Event("challenger-set", challenge, disturbs=False, breaks=("shadow",)),
    Event(
        "challenger-retired",
        retire,
        # What it looked at is broken off, by the end of its process.
        lines=("^shadow: .*NotNowError", "^shadow: .*the isolated process ended"),
        disturbs=False,
        breaks=("shadow",),
    ),
    Event("key-rotated", rotate_key, disturbs=False),
    Event("orphan-left", leave_orphan, disturbs=False),
    Event("backed-up", back_up, lines=("looked for later.*BackupRunsError",)),
]
