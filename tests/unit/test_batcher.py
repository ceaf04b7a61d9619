"""The batching threads join what waits, keep models apart, and tell errors to who waits."""

import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import nullcontext

import numpy as np
import pytest

from services.worker.batcher import Batcher, NotNowError
from services.worker.watchdog import Watchdog
from shared.jobs.claim import Claim
from shared.jobs.states import Priority
from shared.models.prediction import Prediction


class CountingPredictor:
    """Stands for a model: gives the first pixel of each image, and remembers its batches."""

    def __init__(self, gate: threading.Event | None = None) -> None:
        self.batches: list[int] = []
        self.gate = gate

    def predict(self, images: np.ndarray, *_: object) -> Prediction:
        if self.gate:
            self.gate.wait(10)
        self.batches.append(len(images))
        values = images[:, 0, 0, 0].astype(np.float32)
        rows = np.stack([values] * 4, axis=1)
        return Prediction(rows, rows.astype(np.float64))


class SteppingPredictor(CountingPredictor):
    """Tells when it begins a batch, and ends it when it is let; remembers the values of each."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.let = threading.Semaphore(0), threading.Semaphore(0)
        self.values: list[set[int]] = []

    def predict(self, images: np.ndarray, *_: object) -> Prediction:
        self.begun.release()
        assert self.let.acquire(timeout=10)
        self.values.append(set(images[:, 0, 0, 0].tolist()))
        return super().predict(images)


class PassingPredictor(SteppingPredictor):
    """Can be called again while it still computes, as a CPU engine can."""

    def predict(self, images: np.ndarray, on_begun: Callable[[], None]) -> Prediction:
        on_begun()
        return super().predict(images)


class Watched(Watchdog):
    """Remembers what it was asked to watch."""

    def __init__(self) -> None:
        self.pieces: list[Sequence[Claim]] = []

    def watch(self, claims: Sequence[Claim]):
        self.pieces.append(claims)
        return nullcontext()


class FussyPredictor(CountingPredictor):
    """Cannot bear a 13."""

    def predict(self, images: np.ndarray, *_: object) -> Prediction:
        if 13 in images:
            raise ValueError("13")
        return super().predict(images)


class FailingPredictor:
    def predict(self, images: np.ndarray, *_: object) -> Prediction:
        raise ValueError(f"cannot predict {len(images)}")


def make_batcher(batch_size: int) -> Batcher:
    return Batcher(Watched(), batch_size=batch_size)


def submit(
    batcher: Batcher,
    predictor: object,
    images: np.ndarray,
    priority: Priority = Priority.ROUTINE,
) -> Future[Prediction]:
    claim = Claim(uuid.uuid4(), "w", 1, False, "m", 1, (), priority)
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


def test_a_large_job_is_answered_in_pieces_and_gets_its_rows_in_order() -> None:
    predictor = CountingPredictor()
    batcher = make_batcher(batch_size=16)
    large = np.concatenate([images(value) for value in range(70)])
    prediction = submit(batcher, predictor, large).result(10)
    batcher.close()
    assert prediction.raw[:, 0].tolist() == list(range(70))
    assert predictor.batches == [16, 16, 16, 16, 6]


def test_a_stat_job_waits_for_one_batch_however_large_the_jobs_beside_it() -> None:
    predictor = SteppingPredictor()
    batcher = make_batcher(batch_size=16)
    large = [submit(batcher, predictor, images(1, count=64)) for _ in range(3)]
    assert predictor.begun.acquire(timeout=10)
    stat = submit(batcher, predictor, images(2), Priority.STAT)
    predictor.let.release(2)
    assert stat.result(10).raw[0, 0] == 2
    assert predictor.values == [{1}, {2}]
    assert predictor.batches == [16, 1]
    assert not any(future.done() for future in large)
    predictor.let.release(11)
    assert [len(future.result(10).raw) for future in large] == [64, 64, 64]
    batcher.close()


def test_a_piece_that_fails_fails_its_job_and_no_other() -> None:
    gate = threading.Event()
    fussy = FussyPredictor()
    batcher = make_batcher(batch_size=4)
    submit(batcher, CountingPredictor(gate), images(0))
    broken = np.concatenate([images(1, count=9), images(13), images(1, count=8)])
    bad, good = (submit(batcher, fussy, pixels) for pixels in (broken, images(3, count=6)))
    gate.set()
    with pytest.raises(ValueError, match="13"):
        bad.result(10)
    assert good.result(10).raw[:, 0].tolist() == [3] * 6
    batcher.close()
    assert fussy.batches == [4, 4, 4, 2], "nothing more is predicted of the job that failed"


def test_a_job_of_which_a_piece_runs_is_handed_back_when_the_batcher_closes() -> None:
    predictor = SteppingPredictor()
    batcher = make_batcher(batch_size=4)
    large = submit(batcher, predictor, images(1, count=8))
    assert predictor.begun.acquire(timeout=10)
    batcher.close()
    predictor.let.release()
    with pytest.raises(NotNowError):
        large.result(10)
    assert predictor.batches == [4]


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
        def predict(self, images: np.ndarray, *_: object) -> Prediction:
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


def test_each_piece_of_a_large_job_is_watched_by_itself() -> None:
    watched = Watched()
    batcher = Batcher(watched, batch_size=4)
    claim = Claim(uuid.uuid4(), "w", 1, False, "m", 1, ())
    batcher.submit(claim, CountingPredictor(), images(1, count=10)).result(10)
    batcher.close()
    assert watched.pieces == [[claim], [claim], [claim]]


def test_where_the_engine_allows_it_the_next_batch_begins_before_the_last_one_ends() -> None:
    predictor = PassingPredictor()
    batcher = make_batcher(batch_size=4)
    futures = []
    for value in (1, 2):
        futures.append(submit(batcher, predictor, images(value, count=4)))
        assert predictor.begun.acquire(timeout=10)
    assert not any(future.done() for future in futures)
    futures.append(submit(batcher, predictor, images(3, count=4)))
    assert not predictor.begun.acquire(timeout=0.2), "two at once, and no more"
    predictor.let.release(3)
    assert [future.result(10).raw[:, 0].tolist() for future in futures] == [
        [1] * 4,
        [2] * 4,
        [3] * 4,
    ]
    batcher.close()


def test_an_engine_that_does_not_allow_it_is_called_once_at_a_time() -> None:
    predictor = SteppingPredictor()
    batcher = make_batcher(batch_size=1)
    futures = [submit(batcher, predictor, images(value)) for value in range(6)]
    for _ in futures:
        assert predictor.begun.acquire(timeout=10)
        assert not predictor.begun.acquire(timeout=0.05)
        predictor.let.release()
    assert [int(future.result(10).raw[0, 0]) for future in futures] == list(range(6))
    batcher.close()


def test_a_job_that_fails_a_batch_after_the_next_has_begun_fails_alone() -> None:
    class Fussy(PassingPredictor):
        def predict(self, images: np.ndarray, on_begun: Callable[[], None]) -> Prediction:
            prediction = super().predict(images, on_begun)
            if 13 in images:
                raise ValueError("13")
            return prediction

    predictor = Fussy()
    batcher = make_batcher(batch_size=2)
    first = submit(batcher, predictor, images(1, count=2))
    assert predictor.begun.acquire(timeout=10)
    second = submit(batcher, predictor, images(2, count=2))
    assert predictor.begun.acquire(timeout=10)
    bad, good = (submit(batcher, predictor, images(value)) for value in (13, 3))
    predictor.let.release(9)
    assert [int(one.result(10).raw[0, 0]) for one in (first, second, good)] == [1, 2, 3]
    with pytest.raises(ValueError, match="13"):
        bad.result(10)
    batcher.close()
