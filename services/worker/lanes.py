"""Which images the model sees next: the most urgent first, and a large job piece by piece."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field

from shared.imaging import Pixels
from shared.jobs.claim import Claim
from shared.jobs.states import Priority
from shared.models.prediction import Prediction
from shared.models.predictor import Predictor
from shared.queue.fairness import FAIR_SHARE


@dataclass(eq=False)
class Request:
    """The images of one job, which the model sees in pieces of at most `most`, in order."""

    claim: Claim
    predictor: Predictor
    images: Pixels
    traceparent: str | None
    most: int
    future: Future[Prediction] = field(default_factory=Future)
    _answers: list[Prediction] = field(default_factory=list, init=False)
    _begin: int = field(default=0, init=False)

    @property
    def piece(self) -> Pixels:
        """What the model is to see next of it."""
        return self.images[self._begin : self._begin + self.most]

    def answer(self, prediction: Prediction) -> bool:
        """Take the prediction of the piece; returns whether the request has all of its rows now."""
        self._answers.append(prediction)
        self._begin += self.most
        is_whole = self._begin >= len(self.images)
        if is_whole:
            self.future.set_result(Prediction.joined(self._answers))
        return is_whole


class Lanes:
    """The requests that wait, those of each priority in a lane of their own.

    A lane waits while a more urgent one has requests, but for `FAIR_SHARE` - 1 batches in a row at
    most, and one more where another lane has waited for as long. It is for one thread at a time.
    """

    def __init__(self, *, batch_size: int) -> None:
        self._batch_size = batch_size
        self._lanes: dict[Priority, deque[Request]] = {lane: deque() for lane in Priority}
        self._passed_over = dict.fromkeys(Priority, 0)

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return any(self._lanes.values())

    def add(self, request: Request) -> None:
        """Let a request wait behind those of its priority."""
        self._lanes[request.claim.priority].append(request)

    def put_back(self, request: Request) -> None:
        """Let the request that led the last batch wait again, at its place, for its next piece."""
        self._lanes[request.claim.priority].appendleft(request)

    def take_all(self) -> list[Request]:
        """Take out whatever waits."""
        taken = [request for lane in self._lanes.values() for request in lane]
        for lane in self._lanes.values():
            lane.clear()
        return taken

    def take_batch(self) -> list[Request]:
        """Take out the requests whose pieces are the next batch; something must wait.

        The oldest request of a lane chooses the model. Others of the same lane and model join it
        while they fit. Those of other lanes do not: a batch takes longer the more it has.
        """
        lane = self._lanes[self._choose()]
        batch = [lane.popleft()]
        size = len(batch[0].piece)
        for request in list(lane):
            fits = size + len(request.piece) <= self._batch_size
            if fits and request.predictor is batch[0].predictor:
                lane.remove(request)
                batch.append(request)
                size += len(request.piece)
        return batch

    def _choose(self) -> Priority:
        """The most urgent lane in which requests wait, or one that was passed over for long."""
        waiting = [priority for priority, lane in self._lanes.items() if lane]
        longest = max(waiting, key=self._passed_over.__getitem__)
        is_its_turn = self._passed_over[longest] >= FAIR_SHARE - 1
        chosen = longest if is_its_turn else waiting[0]
        for priority in waiting:
            self._passed_over[priority] += 1
        self._passed_over[chosen] = 0
        return chosen
