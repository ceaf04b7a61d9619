"""Plays one fault: load, disturbance, more load, the end of every job, the verdict."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.faults.load import Load
from tests.faults.pictures import RECIPES
from tests.faults.verdict import UNFINISHED, Expected, Verdict, job_states, judge, made_of
from tests.faults.world import BrokenWorldError, Form, World

_FIRST_RESULT_SECONDS = 60.0
_LAST_ANSWERS_SECONDS = 30.0
_LONGEST_SECONDS = 600.0
_DURATIONS = """
SELECT id::text, extract(epoch FROM finished_at - submitted_at)::float8 FROM jobs
WHERE idempotency_key LIKE %s AND status = 'succeeded'
"""
_numbers = itertools.count(1)


@dataclass
class Row:
    """What one fault came to."""

    fault: str
    accepted: int = 0
    finished: int = 0
    lost: int = 0
    doubled: int = 0
    first_result_seconds: float | None = None
    first_new_seconds: float | None = None
    notes: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    skipped: str | None = None
    took_seconds: float = 0.0

    @property
    def is_good(self) -> bool:
        """Whether nothing was wrong."""
        return not self.complaints

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "good": self.is_good}


class Scene:
    """What a fault sees: the world, the load on it, and where to note things."""

    def __init__(self, world: World, load: Load) -> None:
        self.world = world
        self.form: Form = world.form
        self.load = load
        self.moment = time.monotonic()
        self.notes: list[str] = []
        self.complaints: list[str] = []
        self.resumes_within: float | None = None

    def mark(self) -> None:
        """Count the seconds until the first result from now on."""
        self.moment = time.monotonic()

    def note(self, text: str) -> None:
        """Tell something in the table."""
        self.notes.append(text)

    def require(self, holds: bool, otherwise: str) -> None:
        """Note that the fault itself, or what must follow from it, did not happen."""
        if not holds:
            self.complaints.append(otherwise)

    def unfinished(self) -> int:
        """Jobs of this load that have not ended."""
        return int(self.world.query(UNFINISHED, f"{self.load.prefix}.%")[0][0])

    def running(self) -> list[str]:
        """Ids of the jobs that are in the hands of workers."""
        rows = self.world.query("SELECT id::text FROM jobs WHERE status = 'running'")
        return [row[0] for row in rows]

    def watch_held(self, held: list[str]) -> None:
        """Wait until jobs that a killed worker held have ended, and note when that was."""
        ended = self.world.wait(
            self.form.patience,
            until=lambda: not {"queued", "running"} & set(job_states(self.world, held)),
        )
        seconds = time.monotonic() - self.moment
        self.require(ended, f"Jobs of the killed worker have not ended: {held}")
        self.note(f"{len(held)} in its hands, ended after {seconds:.1f} s")


@dataclass(frozen=True)
class Fault:
    """One disturbance.

    `kind` tells which world it needs, `last` that it is the last in that world, `long` that the
    short form leaves it out, `pause` how long a client waits between jobs if not as usual.
    """

    name: str
    act: Callable[[Scene], None]
    kind: str = "plain"
    chaos: bool = False
    last: bool = False
    long: bool = False
    pause: float | None = None


def undisturbed(
    world: World, recipes: Iterable[str] = RECIPES, models: Iterable[str] = ("champion",)
) -> Expected:
    """Run every recipe once by each model, with nothing disturbed, and keep the results."""
    load = Load(world.service.url, world.service.api_key, f"calm{next(_numbers)}", pause=0)
    for recipe, model in itertools.product(dict.fromkeys(recipes), models):
        load.post(recipe, name=model, model=model)
    scene = Scene(world, load)
    if not world.wait(world.form.patience, until=lambda: scene.unfinished() == 0):
        raise BrokenWorldError("The undisturbed jobs do not end.")
    rows = world.query(
        "SELECT j.idempotency_key, r.document FROM jobs j JOIN results r ON r.job_id = j.id "
        "WHERE j.idempotency_key LIKE %s",
        f"{load.prefix}.%",
    )
    return {made_of(key, document): document for key, document in rows}


def play(world: World, fault: Fault, expected: Expected) -> Row:
    """Play one fault to its verdict."""
    form = world.form
    world.heal()
    load = Load(
        world.service.url,
        world.service.api_key,
        f"{fault.name}{next(_numbers)}",
        pause=form.chaos_pause if fault.chaos else fault.pause or form.pause,
        limit=form.chaos_jobs if fault.chaos else None,
    )
    scene = Scene(world, load)
    load.start()
    try:
        world.wait(form.before)
        fault.act(scene)
        first = _await_first_result(scene)
        world.wait(form.after)
    finally:
        _end_load(scene)
    ended = world.wait(form.patience, until=lambda: scene.unfinished() == 0)
    await_orphans = form.orphans_at_once or fault.last
    verdict = judge(world, load, expected, await_orphans=await_orphans)
    return _row(fault, scene, verdict, first, ended)


def _await_first_result(scene: Scene) -> float | None:
    timeline = scene.world.timeline

    def came() -> bool:
        return timeline.first_after(scene.moment) is not None

    scene.world.wait(_FIRST_RESULT_SECONDS, until=came)
    return timeline.first_after(scene.moment)


def _end_load(scene: Scene) -> None:
    load, world = scene.load, scene.world
    load.stop()
    if not world.wait(_LAST_ANSWERS_SECONDS, until=lambda: not load.is_running()):
        load.give_up()
        world.wait(_LAST_ANSWERS_SECONDS, until=lambda: not load.is_running())


def _row(fault: Fault, scene: Scene, verdict: Verdict, first: float | None, ended: bool) -> Row:
    load = scene.load
    scene.require(first is not None, "no result came after the fault")
    scene.require(bool(_accepted_after(scene)) or fault.chaos, "intake did not go on")
    scene.require(ended, "jobs did not end in time")
    if scene.resumes_within is not None and first is not None:
        limit = scene.resumes_within
        scene.require(first <= limit, f"the first result took {first:.1f} s; at most {limit:.0f}")
    odd = {code: count for code, count in load.answers.items() if code not in ("200", "202")}
    if odd:
        scene.note("tried again: " + ", ".join(f"{k} x{v}" for k, v in sorted(odd.items())))
    if load.unanswered:
        scene.note(f"{len(load.unanswered)} posts never answered")
    return Row(
        fault=fault.name,
        accepted=verdict.accepted,
        finished=verdict.finished,
        lost=verdict.lost,
        doubled=verdict.doubled,
        first_result_seconds=first,
        first_new_seconds=_first_new_result(scene),
        notes=scene.notes,
        complaints=[*scene.complaints, *verdict.complaints],
    )


def _accepted_after(scene: Scene) -> dict[str, float]:
    """The jobs that were accepted after the fault, with the seconds from it."""
    later = ((a.job_id, a.at - scene.moment) for a in list(scene.load.accepted))
    return {job_id: seconds for job_id, seconds in later if seconds > 0}


def _first_new_result(scene: Scene) -> float | None:
    """Seconds from the fault to the first result of a job that was accepted after it."""
    accepted = _accepted_after(scene)
    rows = scene.world.query(_DURATIONS, f"{scene.load.prefix}.%")
    # Where the database's clock jumped between the two times, they tell nothing.
    through = [
        accepted[job_id] + seconds
        for job_id, seconds in rows
        if job_id in accepted and 0 <= seconds < _LONGEST_SECONDS
    ]
    return min(through, default=None)
