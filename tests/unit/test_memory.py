"""Threads that decode images, one at a time, do not each keep the memory of the largest."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

IMAGE_BYTES = 12 * 1024**2
THREADS = 6
SCRIPT = f"""
import threading
import psutil
from shared.memory import share_one_heap

if {{settled}}:
    share_one_heap()
larger = bytearray(b"x" * 2 * {IMAGE_BYTES})  # from now on the heaps take blocks of its size
del larger
turn, done, end = threading.Lock(), threading.Semaphore(0), threading.Event()

def decode() -> None:
    with turn:
        image = bytearray({IMAGE_BYTES})
        image[:] = b"x" * len(image)
        del image
    done.release()
    end.wait()

threads = [threading.Thread(target=decode) for _ in range({THREADS})]
before = psutil.Process().memory_info().rss
for thread in threads:
    thread.start()
    done.acquire()
print(psutil.Process().memory_info().rss - before)
end.set()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has several heaps")
@pytest.mark.parametrize(("settled", "keeps"), [(True, False), (False, True)])
def test_threads_share_the_memory_of_one_heap(*, settled: bool, keeps: bool) -> None:
    command = [sys.executable, "-c", SCRIPT.format(settled=settled)]
    kept = int(subprocess.run(command, capture_output=True, check=True).stdout)
    assert (kept > THREADS * IMAGE_BYTES) is keeps, f"{kept} bytes are kept"
