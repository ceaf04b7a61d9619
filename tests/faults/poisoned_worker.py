"""A worker that trips over marked images: `python -m tests.faults.poisoned_worker`.

It is the worker itself, but for one wrapper around the decoder and one around the model call. A
process that the worker spawns imports this module again, and so trips over the same images.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import services.worker.main as worker
from shared.models.predictor import Predictor
from tests.faults.pictures import POISONS

_CHUNK_BYTES = 32 * 2**20
_CHUNKS = 12
_NEAR = 12
_AT = 4  # a pixel well within the marked corner


def _poison_of(pixel: Any) -> str | None:
    """Which poison a pixel of three values in 0..255 stands for."""
    for name, colour in POISONS.items():
        if np.abs(np.asarray(pixel, dtype=float)[:3] - colour).max() < _NEAR:
            return name
    return None


def _take_all_memory() -> None:
    """Fill memory, then end as by the kernel's out-of-memory killer."""
    filled = []
    for _ in range(_CHUNKS):
        filled.append(bytearray(os.urandom(1024)) * (_CHUNK_BYTES // 1024))
    os.kill(os.getpid(), signal.SIGKILL)


def _hang() -> None:
    while True:
        time.sleep(60)


_IN_DECODING: dict[str, Callable[[], None]] = {
    "crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "memory": _take_all_memory,
    "hang_decoding": _hang,
}


def _wrap_decoder(decode: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(decode)
    def decode_image(*arguments: Any, **options: Any) -> Any:
        decoded = decode(*arguments, **options)
        act = _IN_DECODING.get(_poison_of(decoded.image.getpixel((_AT, _AT))) or "")
        if act is not None:
            act()
        return decoded

    return decode_image


def _wrap_model(predict: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(predict)
    def predict_images(self: Predictor, images: Any, *arguments: Any) -> Any:
        if any(_poison_of(image[_AT, _AT]) == "hang_model" for image in images):
            _hang()
        return predict(self, images, *arguments)

    return predict_images


def _put_poison_in() -> int:
    """Wrap the names where the worker looks them up; returns how many decoders there were."""
    found = 0
    for name, module in list(sys.modules.items()):
        if name.startswith("services.worker.") and hasattr(module, "decode_image"):
            vars(module)["decode_image"] = _wrap_decoder(module.decode_image)
            found += 1
    Predictor.predict = _wrap_model(Predictor.predict)  # type: ignore[method-assign]
    return found


if _put_poison_in() == 0:
    raise SystemExit("The worker has no decoder to poison.")

if __name__ == "__main__":
    sys.exit(worker.main())
