"""A typed client of the service over HTTP; the command line uses it too.

    with Client(url, api_key) as client:
        job = client.wait(client.submit([path]).id)

Each call may raise `RefusedError`, with the service's own code, or an `httpx.TransportError` where
the service is not reached.
"""

from __future__ import annotations

from shared.client.datasets import Datasets
from shared.client.errors import NotFinishedError, RefusedError, UnreadableAnswerError
from shared.client.explanations import Explanations
from shared.client.jobs import Jobs
from shared.client.models import Models
from shared.client.orders import Orders
from shared.client.results import Results
from shared.client.retention import Retention
from shared.client.trainings import Trainings

__all__ = ["Client", "NotFinishedError", "RefusedError", "UnreadableAnswerError"]


class Client(Jobs, Results, Explanations, Models, Datasets, Trainings, Orders, Retention):
    """Speaks to one service with one key."""
