"""The batching threads: run the model on whatever waits, up to a bound, without a timer.

Jobs come from many threads, which load, decode and commit while these infer. Waiting for a
batch to fill would add latency to a quiet service and nothing to a busy one, whose next batch
fills while the present one runs. `lanes.py` chooses what comes next.

There are two, which take turns: where the engine allows it, the next batch begins while the last
images of the present one are computed, of which there may be fewer than the machine has cores for.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from typing import Self

import numpy as np

from services.worker.lanes import Lanes, Request
from services.worker.metrics import count_batch
from services.worker.watchdog import Watchdog
from shared.imaging import Pixels
from shared.jobs.claim import Claim
from shared.models.prediction import Prediction
from shared.models.predictor import Predictor
from shared.telemetry.tracing import span, traceparent

_THREADS = 2


class NotNowError(Exception):
    """This worker does not get to the job, which goes back to its queue as it was."""

    def __init__(self, reason: str, *, delay_seconds: float = 0) -> None:
        super().__init__(reason)
        self.delay_seconds = delay_seconds


class Batcher:
    """Joins the requests of many threads into batches of one model and one priority each.

    What has more images than a batch is answered in pieces, between which others have their turn.
    """

    def __init__(self, watchdog: Watchdog, *, batch_size: int) -> None:
        self._watchdog = watchdog
        self._batch_size = batch_size
        self._waiting = Lanes(batch_size=batch_size)
        self._changed = threading.Condition()
        self._closed = False
        self._turn = threading.Lock()
        for number in range(_THREADS):
            threading.Thread(target=self._run, name=f"batcher-{number}", daemon=True).start()

    def submit(self, claim: Claim, predictor: Predictor, images: Pixels) -> Future[Prediction]:
        """Queue the images of one job, shape (n, 224, 224, 3), for prediction.

        Raises:
            NotNowError: The batcher is closed.
        """
        request = Request(claim, predictor, images, traceparent(), most=self._batch_size)
        with self._changed:
            if self._closed:
                raise NotNowError("the worker stops")
            self._waiting.add(request)
            self._changed.notify()
        return request.future

    def close(self) -> None:
        """Let the running batch finish; what waits gets a NotNowError. Returns at once."""
        with self._changed:
            self._closed = True
            for request in self._waiting.take_all():
                _refuse(request)
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with _Turn(self._turn) as turn:
                batch = self._next_batch()
                if not batch:
                    return
                self._answer(batch, turn)

    def _next_batch(self) -> list[Request]:
        """Block until there is work; empty once closed."""
        with self._changed:
            while not self._waiting:
                if self._closed:
                    return []
                self._changed.wait()
            return self._waiting.take_batch()

    def _answer(self, batch: list[Request], turn: _Turn) -> None:
        """Give each request its rows, or its error; one that fails does not fail the others."""
        try:
            joined = self._predict(batch, turn)
        except Exception as error:  # whoever waits for a future must hear of any error
            if len(batch) == 1:
                batch[0].future.set_exception(error)
                return
            for request in batch:
                self._answer([request], turn)
            return
        start = 0
        for request in batch:
            end = start + len(request.piece)
            if not request.answer(joined.rows(start, end)):
                self._put_back(request)
            start = end

    def _put_back(self, request: Request) -> None:
        with self._changed:
            if self._closed:
                _refuse(request)
            else:
                self._waiting.put_back(request)

    def _predict(self, batch: list[Request], turn: _Turn) -> Prediction:
        images = np.concatenate([request.piece for request in batch])
        # In the trace of the oldest, and linked to all whose images it has.
        traced = [request.traceparent for request in batch if request.traceparent]
        parent = batch[0].traceparent
        start = time.perf_counter()
        with (
            self._watchdog.watch([request.claim for request in batch]),
            span("batch", parent=parent, links=traced) as running,
        ):
            running.note(hemotriage__batch__jobs=len(batch), hemotriage__batch__images=len(images))
            prediction = batch[0].predictor.predict(images, turn.pass_on)
        count_batch(len(images), seconds=time.perf_counter() - start)
        return prediction


class _Turn:
    """A thread's turn to choose a batch and have it begun; ends early where it is passed on."""

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self._is_mine = False

    def __enter__(self) -> Self:
        self._lock.acquire()
        self._is_mine = True
        return self

    def pass_on(self) -> None:
        """Let the other thread go on; more than once does nothing."""
        if self._is_mine:
            self._is_mine = False
            self._lock.release()

    def __exit__(self, *_: object) -> None:
        self.pass_on()


def _refuse(request: Request) -> None:
    request.future.set_exception(NotNowError("the worker stops"))
