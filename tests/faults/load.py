"""Eight clients that post jobs, and post each again until it is accepted."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from dataclasses import dataclass

import httpx

from tests.faults.pictures import RECIPES, Picture, pictures_of

CLIENTS = 8
_TIMEOUT_SECONDS = 10.0
_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 1.0
_ACCEPTED = (200, 202)
_BUSY = (429, 503)


@dataclass(frozen=True)
class Accepted:
    """A job that the service promised to run. `at` is by the monotonic clock."""

    job_id: str
    key: str
    at: float


class Load:
    """Posts jobs until it is told to stop or `limit` is reached.

    The idempotency key of each is `PREFIX.RECIPE.NUMBER`, so that a job can be recognised in the
    database even if its answer was lost. `cancelled` has the jobs that it took back.
    """

    def __init__(
        self, url: str, api_key: str, prefix: str, *, pause: float, limit: int | None = None
    ) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {api_key}"}
        self.prefix = prefix
        self._pause = pause
        self._numbers = iter(range(limit)) if limit is not None else itertools.count()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._give_up = threading.Event()
        self._threads: list[threading.Thread] = []
        self.accepted: list[Accepted] = []
        self.unanswered: list[str] = []
        self.refused: list[str] = []
        self.cancelled: set[str] = set()
        self.answers: Counter[str] = Counter()

    def start(self) -> None:
        """Start the clients."""
        self._threads = [
            threading.Thread(target=self._run, args=(number,), daemon=True)
            for number in range(CLIENTS)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Begin no further job."""
        self._stop.set()

    def give_up(self) -> None:
        """Repeat no request any more."""
        self._give_up.set()

    def is_running(self) -> bool:
        """Whether a client still posts."""
        return any(thread.is_alive() for thread in self._threads)

    def post(self, recipe: str, *, name: str = "extra", **fields: str) -> None:
        """Post one job from the caller's thread, until it is accepted."""
        with self._client() as http:
            self._submit(http, recipe, fields, f"{self.prefix}.{recipe}.{name}")

    def _client(self) -> httpx.Client:
        return httpx.Client(
            base_url=self._url, headers=self._headers, timeout=_TIMEOUT_SECONDS, trust_env=False
        )

    def _run(self, client: int) -> None:
        with self._client() as http:
            while not self._stop.is_set():
                with self._lock:
                    number = next(self._numbers, None)
                if number is None:
                    return
                recipe = RECIPES[number % len(RECIPES)]
                priority = {0: "urgent", 5: "stat"}.get(number % 10, "routine")
                key = f"{self.prefix}.{recipe}.{client}-{number}"
                self._submit(http, recipe, {"priority": priority}, key)
                self._stop.wait(self._pause)

    def note(self, answer: str) -> None:
        """Count an answer: its status, or the error in its place."""
        self.answers[answer] += 1

    def _submit(self, http: httpx.Client, recipe: str, fields: dict[str, str], key: str) -> None:
        pictures = pictures_of(recipe)
        while not self._give_up.is_set():
            pause = self._try(http, pictures, fields, key)
            if pause is None:
                return
            time.sleep(pause)
        self.unanswered.append(key)

    def _try(
        self, http: httpx.Client, pictures: list[Picture], fields: dict[str, str], key: str
    ) -> float | None:
        """Post once; returns how long to wait before the next try, None where there is none."""
        files = [("image", (f"{i}", picture.data)) for i, picture in enumerate(pictures)]
        try:
            answer = http.post(
                "/v1/jobs",
                data=fields,
                files=files,
                headers={"Idempotency-Key": key},
            )
        except httpx.HTTPError as error:
            self.note(type(error).__name__)
            return _PAUSE_SECONDS
        self.note(str(answer.status_code))
        if answer.status_code in _ACCEPTED:
            self.accepted.append(Accepted(answer.json()["id"], key, time.monotonic()))
            return None
        if answer.status_code in _BUSY:
            asked = float(answer.headers.get("Retry-After", _PAUSE_SECONDS))
            return min(asked, _LONGEST_PAUSE_SECONDS)
        if answer.status_code >= 500:
            return _PAUSE_SECONDS
        self.refused.append(f"{answer.status_code} {answer.text[:200]}")
        return None
