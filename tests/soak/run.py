"""Runs a soak from a fresh service to its outcome."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from shared.settings import PROJECT_ROOT
from tests.command_line import command_line
from tests.faults.scene import Scene, undisturbed
from tests.faults.verdict import Expected, judge
from tests.faults.world import SHORT, BrokenWorldError, World
from tests.receiver import SECRET, Receiver
from tests.soak.events import OTHER, Event, Ground, await_training
from tests.soak.judging import (
    Outcome,
    judge_answers,
    judge_coverage,
    judge_latencies,
    judge_lines,
    judge_memory,
    judge_verdict,
)
from tests.soak.latency import latencies
from tests.soak.load import RECIPES, OpenLoad
from tests.soak.logs import Window, lines_of
from tests.soak.plan import Plan, plan
from tests.soak.samples import Sampler

LOAD = 0.5
"""Of what the machine does at most."""

_CALIBRATING_RATE = 500.0
_CALIBRATING_SECONDS = 15.0
_AFTERMATH_SECONDS = 20.0
_END_SECONDS = 120.0
_REPLAYED = 3
_WORKED = """
SELECT id::text, extract(epoch FROM finished_at - submitted_at)::float8 FROM jobs
WHERE idempotency_key LIKE %s AND status = 'succeeded'
"""
_FORM = replace(
    SHORT,
    settings={
        "HEMOTRIAGE_ORPHAN_GRACE_SECONDS": "60",
        "HEMOTRIAGE_MODELS_DIR": str(PROJECT_ROOT / "models"),
        "HEMOTRIAGE_MONITORING_INTERVAL_SECONDS": "20",
        "HEMOTRIAGE_WEBHOOK_SECRET": SECRET,
    },
    patience=_END_SECONDS,
)


Tell = Callable[[str], object]


def soak(minutes: float, *, rate: float | None = None, tell: Tell = str) -> Outcome:
    """Run a service under load for so many minutes, with all that happens to one.

    Args:
        minutes: Of load.
        rate: Jobs a second; by default half of what the machine is found to do.
        tell: Is told what goes on.
    """
    tell("starting a service, and running each job undisturbed")
    with _receiver() as receiver:
        host = {"HEMOTRIAGE_WEBHOOK_ALLOWED_HOSTS": f"127.0.0.1:{receiver.port}"}
        with World(_FORM, settings=host, proxied=False) as world:
            models = ("champion", "{}@{}".format(*OTHER))
            expected = undisturbed(world, RECIPES, models)
            capacity = _capacity(world, receiver) if rate is None else 0.0
            used = rate or LOAD * capacity
            tell(f"{used:.1f} jobs/s for {minutes:g} minutes; the machine does {capacity:.1f}")
            return _Run(world, receiver, plan(minutes), used, tell).outcome(expected, capacity)


@contextmanager
def _receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    try:
        yield receiver
    finally:
        receiver.close()


def _capacity(world: World, receiver: Receiver) -> float:
    """Jobs a second that are done when clients post as fast as they are answered."""
    load = OpenLoad(
        world.service.url,
        world.service.api_key,
        "capacity",
        rate=_CALIBRATING_RATE,
        hook=receiver.url,
    )
    load.start()
    world.wait(_CALIBRATING_SECONDS)
    load.stop()
    scene = Scene(world, load)
    began = time.monotonic()
    if not world.wait(
        _END_SECONDS, until=lambda: not load.is_running() and scene.unfinished() == 0
    ):
        raise BrokenWorldError("What was posted to calibrate is not done.")
    return len(load.accepted) / (_CALIBRATING_SECONDS + time.monotonic() - began)


class _Run:
    """The load, and what happens meanwhile."""

    def __init__(
        self, world: World, receiver: Receiver, chosen: Plan, rate: float, tell: Tell
    ) -> None:
        self._world = world
        self._receiver = receiver
        self._plan = chosen
        self._rate = rate
        self._tell = tell
        service = world.service
        self._load = OpenLoad(service.url, service.api_key, "soak", rate=rate, hook=receiver.url)
        environment = service.environment()
        made = command_line("keys", "create", "--name=second", "--scopes=admin", **environment)
        self._ground = Ground(world, self._load, made.stdout.strip())
        self._windows: list[Window] = []
        self._disturbing: list[Window] = []
        self._breaks: dict[str, list[float]] = defaultdict(list)

    def outcome(self, expected: Expected, capacity: float) -> Outcome:
        """Run it, and judge."""
        sampler = Sampler(self._world, every=min(5.0, self._plan.seconds / 120))
        sampler.start()
        began = time.time()
        try:
            self._play(time.monotonic())
        finally:
            self._load.stop()
            sampler.stop()
        ended = time.time()
        self._tell("the end of the jobs and of the training, and the verdict")
        await_training(self._ground)
        scene = Scene(self._world, self._load)
        done = self._world.wait(
            _END_SECONDS,
            until=lambda: not self._load.is_running() and scene.unfinished() == 0,
        )
        verdict = judge(self._world, self._load, expected, await_orphans=True)
        outcome = Outcome(self._plan.seconds / 60, capacity, self._rate, verdict)
        outcome.complain([] if done else ["jobs have not ended"])
        begin = began + self._plan.warm_up
        worked = dict(self._world.query(_WORKED, f"{self._load.prefix}.%"))
        outcome.windows = self._windows
        outcome.latencies = latencies(
            self._load.sent, worked, self._disturbing, begin=begin, end=ended
        )
        judge_verdict(outcome)
        judge_memory(outcome, sampler.samples, self._breaks, self._plan, begin=begin)
        judge_answers(outcome, self._load.troubles)
        judge_lines(outcome, lines_of(self._world.root / "log"))
        judge_latencies(outcome)
        judge_coverage(outcome)
        self._judge_rest(outcome)
        return outcome

    def _play(self, began: float) -> None:
        self._load.start()
        for at, event in self._plan.events:
            self._world.wait(max(0.0, began + at - time.monotonic()))
            self._happen(event)
        self._world.wait(max(0.0, began + self._plan.seconds - time.monotonic()))

    def _happen(self, event: Event) -> None:
        began = time.time()
        self._tell(event.name)
        event.act(self._ground)
        for role in event.breaks:
            self._breaks[role] += [began, time.time()]
        end = time.time() + _AFTERMATH_SECONDS
        window = Window(event.name, began, end, event.lines, event.answers)
        self._windows.append(window)
        if event.disturbs:
            self._disturbing.append(window)

    def _judge_rest(self, outcome: Outcome) -> None:
        """Webhooks, what events found, and a few jobs that are run again."""
        load = self._load
        outcome.posts, outcome.cancelled = len(load.accepted), len(load.cancelled)
        outcome.refused = len(load.bad)
        outcome.webhooks = len(load.called_back)
        outcome.notes += [*self._ground.notes, f"at most {load.most_behind:.1f} s behind"]
        outcome.complain(self._ground.complaints)
        outcome.complain(load.faults)
        told = {call.document["data"]["job_id"] for call in list(self._receiver.calls)}
        silent = [job_id for job_id in load.called_back if job_id not in told]
        outcome.complain([f"no webhook of job {job_id}" for job_id in silent])
        done = [one.job_id for one in load.accepted if one.job_id not in load.cancelled]
        for job_id in done[:: max(1, len(done) // _REPLAYED)][:_REPLAYED]:
            again = command_line("jobs", "replay", job_id, **self._world.service.environment())
            outcome.notes.append(again.stdout.splitlines()[0] if again.stdout else again.stderr)
            outcome.complain([] if again.returncode == 0 else [again.stdout + again.stderr])
