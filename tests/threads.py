"""What the trainer does in a thread, done in one of a test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def in_a_thread(run: Callable[..., None], *needed: object) -> Iterator[threading.Event]:
    """Run one of the trainer's loops for as long as the block does; yields what stops it.

    Args:
        run: The loop; it takes what it needs, the event, and how often it looks for work.
        needed: What it needs.
    """
    stop = threading.Event()
    thread = threading.Thread(target=run, args=(*needed, stop), kwargs={"look_seconds": 0.1})
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()
