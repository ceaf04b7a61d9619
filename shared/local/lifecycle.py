"""What is started and stopped as a whole."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Startable(ABC):
    """Started on entering a `with` block, stopped on leaving it."""

    @abstractmethod
    def start(self) -> None:
        """Start everything, or nothing where it raises."""

    @abstractmethod
    def stop(self) -> None:
        """Stop everything; harmless where nothing runs."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
