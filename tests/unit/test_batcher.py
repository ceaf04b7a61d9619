"""The batching thread joins what waits, keeps models apart, and tells errors to who waits."""

import threading
import uuid
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import nullcontext

import numpy as np
import pytest

from services.worker.batcher import Batcher, NotNowError
from services.worker.watchdog import Watchdog
from shared.jobs.claim import Claim
from shared.models.prediction import Prediction


class CountingPredictor:
    """Stands for a model: gives the first pixel of each image, and remembers its batches."""

    def __init__(self, gate: threading.Event | None = None) -> None:
        self.batches: list[int] = []
        self.gate = gate

    def predict(self, images: np.ndarray) -> Prediction:
        if self.gate:
            self.gate.wait(10)
        self.batches.append(len(images))
        values = images[:, 0, 0, 0].astype(np.float32)
        rows = np.stack([values] * 4, axis=1)
        return Prediction(rows, rows.astype(np.float64))


class Watched(Watchdog):
    """Remembers what it was asked to watch."""

    def __init__(self) -> None:
        self.pieces: list[Sequence[Claim]] = []

    def watch(self, claims: Sequence[Claim]):
        self.pieces.append(claims)
        return nullcontext()


class FussyPredictor(CountingPredictor):
    """Cannot bear a 13."""

    def predict(self, images: np.ndarray) -> Prediction:
        if 13 in images:
            raise ValueError("13")
        return super().predict(images)


class FailingPredictor:
    def predict(self, images: np.ndarray) -> Prediction:
        raise ValueError(f"cannot predict {len(images)}")


def make_batcher(batch_size: int) -> Batcher:
    return Batcher(Watched(), batch_size=batch_size)


def submit(batcher: Batcher, predictor: object, images: np.ndarray) -> Future[Prediction]:
    claim = Claim(uuid.uuid4(), "w", 1, False, "m", 1, ())
    return batcher.submit(claim, predictor, images)


def images(value: int, count: int = 1) -> np.ndarray:
    return np.full((count, 4, 4, 3), value, dtype=np.uint8)


def test_what_waits_is_joined_up_to_the_bound_and_answers_go_where_they_belong() -> None:
    gate = threading.Event()
    predictor = CountingPredictor(gate)
    batcher = make_batcher(batch_size=4)
    futures = [submit(batcher, predictor, images(value)) for value in range(9)]
    gate.set()
    assert [int(future.result(10).raw[0, 0]) for future in futures] == list(range(9))
    batcher.close()
    assert sum(predictor.batches) == 9
    assert max(predictor.batches) == 4


def test_a_job_of_several_images_gets_all_of_its_rows() -> None:
    batcher = make_batcher(batch_size=2)
    prediction = submit(batcher, CountingPredictor(), images(7, count=5)).result(10)
    batcher.close()
    assert prediction.raw.shape == (5, 4)


def test_two_models_never_share_a_batch() -> None:
    gate = threading.Event()
    one, other = CountingPredictor(gate), CountingPredictor()
    batcher = make_batcher(batch_size=8)
    futures = [submit(batcher, model, images(1)) for model in (one, other, one, other)]
    gate.set()
    for future in futures:
        future.result(10)
    batcher.close()
    assert (sum(one.batches), sum(other.batches)) == (2, 2)


def test_an_error_reaches_every_waiting_job_and_the_thread_lives_on() -> None:
    batcher = make_batcher(batch_size=8)
    with pytest.raises(ValueError, match="cannot predict"):
        submit(batcher, FailingPredictor(), images(1)).result(10)
    assert submit(batcher, CountingPredictor(), images(3)).result(10).raw[0, 0] == 3
    batcher.close()


def test_a_closed_batcher_takes_nothing_more() -> None:
    batcher = make_batcher(batch_size=1)
    batcher.close()
    with pytest.raises(NotNowError):
        submit(batcher, CountingPredictor(), images(1))


def test_a_closing_batcher_finishes_what_runs_and_hands_back_what_waits() -> None:
    gate, begun = threading.Event(), threading.Event()

    class Slow(CountingPredictor):
        def predict(self, images: np.ndarray) -> Prediction:
            begun.set()
            return super().predict(images)

    batcher = make_batcher(batch_size=1)
    running, waiting = (submit(batcher, Slow(gate), images(value)) for value in (1, 2))
    assert begun.wait(10)
    batcher.close()
    with pytest.raises(NotNowError):
        waiting.result(10)
    gate.set()
    assert running.result(10).raw[0, 0] == 1


def test_a_job_that_fails_its_batch_fails_alone() -> None:
    gate = threading.Event()
    blocker, fussy = CountingPredictor(gate), FussyPredictor()
    batcher = make_batcher(batch_size=8)
    submit(batcher, blocker, images(0))
    futures = [submit(batcher, fussy, images(value)) for value in (1, 13, 3)]
    gate.set()
    assert [int(futures[index].result(10).raw[0, 0]) for index in (0, 2)] == [1, 3]
    with pytest.raises(ValueError, match="13"):
        futures[1].result(10)
    batcher.close()


def test_a_model_call_is_watched_with_the_jobs_in_it() -> None:
    watched = Watched()
    batcher = Batcher(watched, batch_size=8)
    claim = Claim(uuid.uuid4(), "w", 1, False, "m", 1, ())
    batcher.submit(claim, CountingPredictor(), images(1)).result(10)
    batcher.close()
    assert watched.pieces == [[claim]]
