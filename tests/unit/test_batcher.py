"""The batching thread joins what waits, keeps models apart, and tells errors to who waits."""

import threading

import numpy as np
import pytest

from services.worker.batcher import Batcher
from shared.models.predictor import Prediction


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


class FailingPredictor:
    def predict(self, images: np.ndarray) -> Prediction:
        raise ValueError(f"cannot predict {len(images)}")


def images(value: int, count: int = 1) -> np.ndarray:
    return np.full((count, 4, 4, 3), value, dtype=np.uint8)


def test_what_waits_is_joined_up_to_the_bound_and_answers_go_where_they_belong() -> None:
    gate = threading.Event()
    predictor = CountingPredictor(gate)
    batcher = Batcher(batch_size=4)
    futures = [batcher.submit(predictor, images(value)) for value in range(9)]
    gate.set()
    assert [int(future.result(10).raw[0, 0]) for future in futures] == list(range(9))
    batcher.close()
    assert sum(predictor.batches) == 9
    assert max(predictor.batches) == 4


def test_a_job_of_several_images_gets_all_of_its_rows() -> None:
    batcher = Batcher(batch_size=2)
    prediction = batcher.submit(CountingPredictor(), images(7, count=5)).result(10)
    batcher.close()
    assert prediction.raw.shape == (5, 4)


def test_two_models_never_share_a_batch() -> None:
    gate = threading.Event()
    one, other = CountingPredictor(gate), CountingPredictor()
    batcher = Batcher(batch_size=8)
    futures = [batcher.submit(model, images(1)) for model in (one, other, one, other)]
    gate.set()
    for future in futures:
        future.result(10)
    batcher.close()
    assert (sum(one.batches), sum(other.batches)) == (2, 2)


def test_an_error_reaches_every_waiting_job_and_the_thread_lives_on() -> None:
    batcher = Batcher(batch_size=8)
    with pytest.raises(ValueError, match="cannot predict"):
        batcher.submit(FailingPredictor(), images(1)).result(10)
    assert batcher.submit(CountingPredictor(), images(3)).result(10).raw[0, 0] == 3
    batcher.close()


def test_a_closed_batcher_takes_nothing_more() -> None:
    batcher = Batcher(batch_size=1)
    batcher.close()
    with pytest.raises(RuntimeError, match="closed"):
        batcher.submit(CountingPredictor(), images(1))
