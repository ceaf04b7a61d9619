"""Structured logs: one JSON object a line on standard error.

What is logged is ids, codes, counts and durations; never a patient's data, a file name or a key.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from types import TracebackType
from typing import TextIO

from pythonjsonlogger.json import JsonFormatter

from shared.errors import HemotriageError
from shared.telemetry.about import noted

ErrorInfo = (
    tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
)

_log = logging.getLogger(__name__)


class Formatter(JsonFormatter):
    """A record as one JSON object, with the ids of the running work."""

    def __init__(self, *, service: str) -> None:
        """Args: service: Name of the process, in every line."""
        super().__init__(
            "%(asctime)s %(levelname)s %(name)s %(message)s",
            rename_fields={"asctime": "at", "levelname": "level", "name": "logger"},
            static_fields={"service": service},
        )

    def format(self, record: logging.LogRecord) -> str:
        """The object; what a line says of its job stands before what is around it."""
        for name, value in noted().items():
            if getattr(record, name, None) is None:
                setattr(record, name, value)
        return super().format(record)

    def formatException(self, ei: ErrorInfo) -> str:  # noqa: N802 - logging's name
        """Where an error was raised and what it is; its text is told of our own errors alone.

        Others quote what they met: a row that breaks a constraint, a header, a file's name.
        """
        return "".join(_told(error) for error in _chain(ei[1]))


def configure_logging(level: str, *, service: str) -> None:
    """Send the logs of this process to standard error, with its warnings and uncaught errors.

    What comes from outside Python is as it is: a fault in native code, `faulthandler`'s stack.

    Args:
        level: Least severe level that is written; of libraries it is INFO at least.
        service: Name of the process, in every line.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Formatter(service=service))
    # Libraries tell at DEBUG what they read, such as every value in the head of a TIFF.
    of_libraries = max(logging.INFO, logging.getLevelNamesMapping()[level])
    logging.basicConfig(level=of_libraries, handlers=[handler], force=True)
    for name in ("services", "shared"):
        logging.getLogger(name).setLevel(level)
    # Task arguments and connection addresses are noise at this level, and may hold secrets.
    for name in ("celery.worker.strategy", "celery.app.trace", "httpx", "alembic", "highdicom"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Its warnings quote what a peer sent; whoever speaks with one tells what became of it.
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    _log_what_nobody_catches()


def _log_what_nobody_catches() -> None:
    def uncaught(kind: type[BaseException], error: BaseException, _: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            return
        _log.critical("uncaught error", exc_info=error)

    def uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
        if not issubclass(args.exc_type, SystemExit):
            thread = args.thread.name if args.thread else None
            _log.critical("uncaught error", exc_info=args.exc_value, extra={"in_thread": thread})

    def unraisable(args: sys.UnraisableHookArgs) -> None:
        _log.error("unraisable error", exc_info=args.exc_value)

    def warned(  # noqa: PLR0917 - as in `warnings`
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        # Its text may quote a value of a DICOM header.
        del message, file, line
        place = f"{filename}:{lineno}"
        _log.warning("warning", extra={"warning": category.__name__, "place": place})

    sys.excepthook, threading.excepthook = uncaught, uncaught_in_thread
    sys.unraisablehook = unraisable
    warnings.showwarning = warned


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error after those that led to it."""
    if error is not None:
        yield from _chain(
            error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        )
        yield error


def _told(error: BaseException) -> str:
    name = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    text = f": {error}" if isinstance(error, HemotriageError) else ""
    return "".join(traceback.format_tb(error.__traceback__)) + f"{name}{text}\n"
