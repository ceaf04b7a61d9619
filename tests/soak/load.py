"""An open loop: jobs come when they come, whether or not the earlier ones are done."""

from __future__ import annotations

import io
import queue
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from tests.factories import BAD_IMAGES
from tests.faults.load import Load

CLIENTS = 16
_END_SECONDS = 60.0
_PAUSE_SECONDS = 0.5
PRIORITIES = {"stat": 5, "urgent": 15, "routine": 80}
RECIPES = {
    "0": 30,
    "1": 25,
    "2-640": 10,
    "3-1024-JPEG": 6,
    "4-640-TIFF": 4,
    "5-640-WEBP": 4,
    "6-300-BMP": 4,
    "7-1600-JPEG": 2,
    "0+1": 8,
    "2+3+4+5": 5,
    "+".join(str(n % 8) for n in range(12)): 2,
}
"""Jobs, by how many of 100 they are: images of several sizes and formats, some together."""

_ENDED = frozenset({"succeeded", "failed", "cancelled", "dead"})

KINDS = {
    "post": 60,
    "poll": 20,
    "bad": 5,
    "cancel": 4,
    "webhook": 5,
    "explain": 2,
    "review": 4,
}
"""What clients do, by how many of 100."""


@dataclass(frozen=True)
class Sent:
    """A job of the load. `due` and `accepted` by the monotonic clock, `wall` is when it was due."""

    job_id: str
    priority: str
    due: float
    accepted: float
    wall: float


@dataclass(frozen=True)
class Arrival:
    """What a client is to do, and when."""

    number: int
    due: float
    kind: str
    recipe: str
    priority: str


@dataclass(frozen=True)
class Trouble:
    """An answer that nobody wants, by the wall clock."""

    at: float
    what: str


def arrivals(rate: float, seed: int, begin: float) -> Iterator[Arrival]:
    """Jobs without end, `rate` a second in the mean, at random moments (a Poisson process)."""
    dice, due, number = random.Random(seed), begin, 0
    while True:
        due += dice.expovariate(rate)
        yield Arrival(
            number, due, _drawn(dice, KINDS), _drawn(dice, RECIPES), _drawn(dice, PRIORITIES)
        )
        number += 1


def _drawn(dice: random.Random, shares: dict[str, int]) -> str:
    return dice.choices(list(shares), weights=list(shares.values()))[0]


class OpenLoad(Load):
    """Does what clients of a hospital do, at a rate of its own."""

    def __init__(self, url: str, api_key: str, prefix: str, *, rate: float, hook: str) -> None:
        """Prepare it.

        Args:
            url: The API.
            api_key: With every scope.
            prefix: Of the idempotency keys.
            rate: Jobs a second.
            hook: Where webhooks go.
        """
        super().__init__(url, api_key, prefix, pause=0)
        self._hook = hook
        self._rate = rate
        self._due: queue.Queue[Arrival | None] = queue.Queue()
        self.sent: list[Sent] = []
        self.troubles: list[Trouble] = []
        self.faults: list[str] = []
        self.called_back: list[str] = []
        self.bad: list[str] = []
        self.most_behind = 0.0

    def start(self) -> None:
        """Start the clients, and what tells them to begin."""
        dispatch = threading.Thread(target=self._dispatch, daemon=True)
        clients = [threading.Thread(target=self._serve, daemon=True) for _ in range(CLIENTS)]
        self._threads = [dispatch, *clients]
        for thread in self._threads:
            thread.start()

    def use_key(self, api_key: str) -> None:
        """Use another key from the next job on."""
        self._headers = {"Authorization": f"Bearer {api_key}"}

    def note(self, answer: str) -> None:
        super().note(answer)
        if answer not in ("200", "202"):
            self.troubles.append(Trouble(time.time(), answer))

    def _dispatch(self) -> None:
        for arrival in arrivals(self._rate, 1, time.monotonic()):
            if self._stop.wait(max(0.0, arrival.due - time.monotonic())):
                break
            self._due.put(arrival)
        for _ in range(CLIENTS):
            self._due.put(None)

    def _serve(self) -> None:
        while (arrival := self._due.get()) and not self._stop.is_set():
            self.most_behind = max(self.most_behind, time.monotonic() - arrival.due)
            with self._client() as http:
                self._do(http, arrival)

    def _do(self, http: httpx.Client, arrival: Arrival) -> None:
        if arrival.kind == "bad":
            self._post_bad(http, arrival.number)
            return
        key = f"{self.prefix}.{arrival.recipe}.{arrival.number}"
        fields = {"priority": arrival.priority}
        if arrival.kind == "webhook":
            fields["callback_url"] = self._hook
        self._submit(http, arrival.recipe, fields, key)
        job_id = next((one.job_id for one in reversed(self.accepted) if one.key == key), None)
        if job_id is None:
            return
        now = time.monotonic()
        wall = time.time() - (now - arrival.due)
        self.sent.append(Sent(job_id, arrival.priority, arrival.due, now, wall))
        if arrival.kind == "webhook":
            self.called_back.append(job_id)
        elif arrival.kind == "cancel":
            self._cancel(http, job_id)
        elif arrival.kind != "post":
            self._follow(http, job_id, arrival.kind)

    def _post_bad(self, http: httpx.Client, number: int) -> None:
        """An upload that is no usable image is refused, with the status and code that it must."""
        names = list(BAD_IMAGES)
        name = names[number % len(names)]
        data, status, code = BAD_IMAGES[name]
        answer = self._ask(
            http, "POST", "/v1/jobs", status, files={"image": ("image", io.BytesIO(data))}
        )
        self.bad.append(name)
        if answer is not None and answer.get("code") != code:
            self.faults.append(f"{name}: {answer.get('code')} in the place of {code}")

    def _cancel(self, http: httpx.Client, job_id: str) -> None:
        """Take the job back; whether that came in time, the job itself tells."""
        self._ask(http, "DELETE", f"/v1/jobs/{job_id}", 200, 409)
        if self._read(http, job_id, "") == "cancelled":
            self.cancelled.add(job_id)

    def _follow(self, http: httpx.Client, job_id: str, kind: str) -> None:
        """Wait for the result; then have it explained, or review it."""
        status = self._read(http, job_id, "?wait=5", until=_ENDED)
        if status == "succeeded" and kind == "explain":
            path = f"/v1/jobs/{job_id}/images/0/explanation?method=gradcam"
            self._ask(http, "GET", path, 200, 202)
        elif status == "succeeded" and kind == "review":
            body = {"decision": "confirm"}
            self._ask(http, "POST", f"/v1/jobs/{job_id}/review", 201, json=body)

    def _read(
        self, http: httpx.Client, job_id: str, query: str, *, until: frozenset[str] = frozenset()
    ) -> str:
        """Read a job's status until it is one of those, or until it could be read at all."""
        deadline = time.monotonic() + _END_SECONDS
        while time.monotonic() < deadline:
            found = self._ask(http, "GET", f"/v1/jobs/{job_id}{query}", 200)
            if found is not None and (not until or found["status"] in until):
                return str(found["status"])
        return ""

    def _ask(
        self, http: httpx.Client, method: str, path: str, *expected: int, **given: Any
    ) -> dict[str, Any] | None:
        """Ask once, and note whatever is not expected; None where there is no document."""
        try:
            answer = http.request(method, path, **given)
        except httpx.HTTPError as error:
            self.note(type(error).__name__)
            time.sleep(_PAUSE_SECONDS)
            return None
        if answer.status_code >= 500:
            self.note(str(answer.status_code))
            time.sleep(_PAUSE_SECONDS)
            return None
        if answer.status_code not in expected:
            self.faults.append(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
            return None
        is_json = "json" in answer.headers.get("content-type", "")
        return answer.json() if is_json else {}
