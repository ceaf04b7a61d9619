"""Faults that need a world of their own: a full disk, a clock that jumps, poisoned images."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from shared.local.process import ProcessSpec
from tests.faults.pictures import POISON_PREFIX, POISONS
from tests.faults.scene import Fault, Scene
from tests.faults.verdict import job_states
from tests.faults.world import Form, SkippedError, World

_DISK_MEBIBYTES = 192
_CHUNK = bytes(256 * 1024)
_FULL_SECONDS = 30.0
_HOUR = 3600
_WORK_LIMIT_SECONDS = 3
_NEIGHBOURS = 4
_SHORT_POISONS = ("crash", "hang_model")
_GENTLE_PAUSE_SECONDS = 0.5


class SmallDiskWorld(World):
    """Its object store has a small disk of its own: a tmpfs in a mount namespace of a holder."""

    def __init__(self, form: Form) -> None:
        super().__init__(form, change=self._on_small_disk)
        self.disk = self.root / "data" / "seaweedfs"
        self._holder: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Make the disk, and start everything."""
        if self._holder is None:
            self.disk.mkdir(parents=True)
            self._holder = _hold_tmpfs(self.disk)
        super().start()

    def close(self) -> None:
        """Stop everything; the disk goes with its holder."""
        super().close()
        if self._holder is not None:
            self._holder.kill()
            self._holder.wait()

    @property
    def filler(self) -> Path:
        """The file that takes the room, as seen from outside of the namespace."""
        assert self._holder is not None
        return Path(f"/proc/{self._holder.pid}/root{self.disk}/filler")

    def _on_small_disk(self, spec: ProcessSpec) -> ProcessSpec:
        if spec.name != "seaweedfs":
            return spec
        assert self._holder is not None
        namespaces = ("nsenter", f"--target={self._holder.pid}", "--user", "--mount")
        command = [*namespaces, "--preserve-credentials", f"--wd={self.disk}", "--", *spec.command]
        return replace(spec, command=command, cwd=None)


def _hold_tmpfs(folder: Path) -> subprocess.Popen[bytes]:
    """A process in whose mount namespace a small tmpfs lies on a folder."""
    if not (shutil.which("unshare") and shutil.which("nsenter")):
        raise SkippedError("util-linux (unshare, nsenter) is not installed")
    script = (
        f'mount -t tmpfs -o size={_DISK_MEBIBYTES}m tmpfs "$0" && echo mounted && exec sleep 86400'
    )
    holder = subprocess.Popen(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert holder.stdout is not None
    said = holder.stdout.readline()
    if said.strip() != b"mounted":
        holder.kill()
        holder.wait()
        raise SkippedError(f"no tmpfs can be mounted in a namespace: {said.decode().strip()}")
    return holder


def fill_disk(scene: Scene) -> None:
    """The object store's disk is full for a while."""
    world = scene.world
    assert isinstance(world, SmallDiskWorld)
    refusals = scene.load.answers["503"]
    deadline = time.monotonic() + _FULL_SECONDS
    refused_since: float | None = None
    while time.monotonic() < deadline:
        _fill(world.filler)
        world.tend()
        time.sleep(0.1)
        if refused_since is None and scene.load.answers["503"] > refusals:
            refused_since = time.monotonic()
        if refused_since and time.monotonic() - refused_since > scene.form.freeze:
            break
    scene.note(f"{world.filler.stat().st_size // 2**20} of {_DISK_MEBIBYTES} MiB filled")
    world.filler.unlink()
    scene.mark()
    scene.require(refused_since is not None, "intake was not refused with 503")


def _fill(path: Path) -> None:
    """Take all room that there is."""
    with suppress(OSError), path.open("ab", buffering=0) as file:
        while file.write(_CHUNK) == len(_CHUNK):
            pass


class ClockWorld(World):
    """Its PostgreSQL reads the time through libfaketime, from a file that we write."""

    def __init__(self, form: Form) -> None:
        super().__init__(form, change=self._with_other_clock)
        self.clock = self.folder / "clock"
        self.set_clock(0)

    def set_clock(self, seconds: int) -> None:
        """Have the database's clock be ahead by so much from now on."""
        draft = self.clock.with_suffix(".draft")
        draft.write_text(f"{seconds:+d}\n")
        draft.chmod(0o644)
        draft.replace(self.clock)

    def _with_other_clock(self, spec: ProcessSpec) -> ProcessSpec:
        if spec.name != "postgres":
            return spec
        faked = {
            "LD_PRELOAD": str(_faketime()),
            "FAKETIME_TIMESTAMP_FILE": str(self.clock),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }
        return replace(spec, environment={**spec.environment, **faked})


def _faketime() -> Path:
    package = find_spec("libfaketime")
    if package is None or package.origin is None:
        raise SkippedError("the package libfaketime is not installed")
    library = Path(package.origin).parent / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"
    if not library.is_file():
        raise SkippedError("libfaketime has no library for this machine")
    return library


def jumping(seconds: int) -> Callable[[Scene], None]:
    """The database's clock jumps under load, and stays there."""

    def act(scene: Scene) -> None:
        world = scene.world
        assert isinstance(world, ClockWorld)
        ahead = _ahead(scene)
        world.set_clock(round(ahead) + seconds)
        scene.mark()
        moved = _ahead(scene) - ahead
        scene.require(abs(moved - seconds) < 60, f"the clock moved by {moved:.0f} s")
        scene.note(f"the clock moved by {moved:+.0f} s")

    return act


def _ahead(scene: Scene) -> float:
    """How many seconds the database's clock is ahead of ours."""
    found = scene.world.query("SELECT extract(epoch FROM clock_timestamp())::float8")
    return float(found[0][0]) - time.time()


class PoisonWorld(World):
    """Its workers trip over marked images."""

    def __init__(self, form: Form) -> None:
        limit = {"HEMOTRIAGE_WORK_LIMIT_SECONDS": str(_WORK_LIMIT_SECONDS)}
        super().__init__(form, change=poisoned, settings=limit)


def poisoned(spec: ProcessSpec) -> ProcessSpec:
    """Run the poisoned worker in the place of the worker."""
    command = [
        "tests.faults.poisoned_worker" if part == "services.worker.main" else part
        for part in spec.command
    ]
    return replace(spec, command=command)


def poisoning(*kinds: str) -> Callable[[Scene], None]:
    """Images that take their worker down or hold it up, among others that do not."""

    def act(scene: Scene) -> None:
        scene.mark()
        for number in range(_NEIGHBOURS):
            scene.load.post("1", name=f"before-{number}")
        for kind in kinds:
            scene.load.post(f"{POISON_PREFIX}{kind}", name="poison")
        for number in range(_NEIGHBOURS):
            scene.load.post("2", name=f"behind-{number}")
        poisoned = {a.key: a.job_id for a in scene.load.accepted if f".{POISON_PREFIX}" in a.key}
        scene.world.wait(2 * scene.form.patience, until=lambda: _have_ended(scene, poisoned))
        scene.note(f"poisoned jobs ended after {time.monotonic() - scene.moment:.1f} s")
        for key, job_id in poisoned.items():
            _judge_poisoned(scene, key.split(".")[1], job_id)

    return act


def _have_ended(scene: Scene, jobs: dict[str, str]) -> bool:
    return not {"queued", "running"} & set(job_states(scene.world, list(jobs.values())))


def _judge_poisoned(scene: Scene, name: str, job_id: str) -> None:
    """A poisoned job is dead, with a reason, after few tries."""
    status, failures, attempts, code = scene.world.query(
        "SELECT status, failures, attempts, error_code FROM jobs WHERE id = %s", job_id
    )[0]
    scene.note(f"{name}: {status} {code} after {failures} failures")
    scene.require(status == "dead" and bool(code), f"{name} is {status} {code}")
    scene.require(1 <= failures <= 3, f"{name}: {failures} failures in {attempts} attempts")


WORLDS: dict[str, Callable[[Form], World]] = {
    "small disk": SmallDiskWorld,
    "clock": ClockWorld,
    "poison": PoisonWorld,
}

SPECIAL_FAULTS = [
    Fault("seaweedfs-disk-full", fill_disk, kind="small disk", last=True),
    Fault("clock-jumps-ahead", jumping(_HOUR), kind="clock"),
    Fault("clock-jumps-back", jumping(-_HOUR), kind="clock", last=True),
    *[
        Fault(
            f"poison-{kind.replace('_', '-')}",
            poisoning(kind),
            kind="poison",
            pause=_GENTLE_PAUSE_SECONDS,
            long=kind not in _SHORT_POISONS,
        )
        for kind in POISONS
    ],
    Fault("poison-all", poisoning(*POISONS), kind="poison", pause=_GENTLE_PAUSE_SECONDS, long=True),
]
