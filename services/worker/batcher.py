"""The batching thread: runs the model on whatever waits, up to a bound, without a timer.

Jobs come from many threads, which load, decode and commit while this one infers. Waiting for a
batch to fill would add latency to a quiet service and nothing to a busy one, whose next batch
fills while the present one runs.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from shared.imaging import Pixels
from shared.models.predictor import Prediction, Predictor


@dataclass(frozen=True)
class _Request:
    predictor: Predictor
    images: Pixels
    future: Future[Prediction] = field(default_factory=Future)


class Batcher:
    """Joins the requests of many threads into batches of one model each."""

    def __init__(self, *, batch_size: int) -> None:
        self._batch_size = batch_size
        self._waiting: deque[_Request] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="batcher", daemon=True)
        self._thread.start()

    def submit(self, predictor: Predictor, images: Pixels) -> Future[Prediction]:
        """Queue the images of one job, shape (n, 224, 224, 3), for prediction.

        Raises:
            RuntimeError: The batcher is closed.
        """
        request = _Request(predictor, images)
        with self._changed:
            if self._closed:
                raise RuntimeError("the batcher is closed")
            self._waiting.append(request)
            self._changed.notify()
        return request.future

    def close(self) -> None:
        """Run what waits, then end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._next_batch():
            _predict(batch)

    def _next_batch(self) -> list[_Request]:
        """Block until there is work; empty once closed. The oldest request chooses the model."""
        with self._changed:
            while not self._waiting:
                if self._closed:
                    return []
                self._changed.wait()
            batch = [self._waiting.popleft()]
            size = len(batch[0].images)
            for request in list(self._waiting):
                fits = size + len(request.images) <= self._batch_size
                if fits and request.predictor is batch[0].predictor:
                    self._waiting.remove(request)
                    batch.append(request)
                    size += len(request.images)
            return batch


def _predict(batch: list[_Request]) -> None:
    try:
        joined = batch[0].predictor.predict(np.concatenate([r.images for r in batch]))
    except Exception as error:  # whoever waits for a future must hear of any error
        for request in batch:
            request.future.set_exception(error)
        return
    start = 0
    for request in batch:
        end = start + len(request.images)
        request.future.set_result(Prediction(joined.raw[start:end], joined.calibrated[start:end]))
        start = end
