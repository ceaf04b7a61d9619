"""The frozen part of a network is computed once an image, whatever stops the computing."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from services.trainer.features import FeatureCache, FeatureRows, Trunk, cut
from shared.imaging import Pixels
from shared.models.architectures.blocks import POOLED
from tests.networks import drawn, small_vgg
from tests.waiting import eventually


def test_features_are_computed_once_and_an_interrupted_store_goes_on(tmp_path: Path) -> None:
    trunk, trained = flattening()
    assert trained.input.shape == (None, 48)
    images = tiny(80)
    cache = FeatureCache(tmp_path)
    first = cache.of(trunk, images[:40])
    rows = next(tmp_path.rglob("rows.f16"))
    keys = rows.with_name("keys.txt")
    with rows.open("ab") as file:
        file.write(b"half a row")  # what a kill leaves behind
    with keys.open("a") as file:
        file.write("abc")
    whole = cache.of(trunk, np.concatenate([images, images[:5]]))
    expected = images.reshape(80, 48) / np.float32(255)
    assert np.abs(first[np.arange(40)] - expected[:40]).max() < 1e-3
    assert np.abs(whole[np.arange(80)] - expected).max() < 1e-3
    assert np.array_equal(whole[np.arange(80, 85)], whole[np.arange(5)])
    assert len(keys.read_text().splitlines()) == 80


class _Held:
    """Images that are given once `given` is set; `asked` tells that they were asked for."""

    def __init__(self, images: Pixels) -> None:
        self._images = images
        self.asked, self.given = threading.Event(), threading.Event()

    def __iter__(self) -> Any:
        return iter(self._images)

    def __getitem__(self, chosen: list[int]) -> Pixels:
        self.asked.set()
        assert self.given.wait(60)
        return self._images[chosen]


def test_two_at_once_on_one_folder_have_each_its_own_rows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trunk, _ = flattening()
    images = tiny(120)
    before = FeatureCache(tmp_path).of(trunk, images[:10])
    held: Any = _Held(images[:60])
    with ThreadPoolExecutor() as pool:
        one = pool.submit(FeatureCache(tmp_path).of, trunk, held)
        assert held.asked.wait(60)
        other = pool.submit(FeatureCache(tmp_path).of, trunk, images[40:])
        eventually(lambda: other.done() or caplog.messages, 60)
        assert_rows(before, images[:10])
        held.given.set()
        assert_rows(one.result(), images[:60])
        assert_rows(other.result(), images[40:])
    assert_rows(before, images[:10])
    assert_rows(FeatureCache(tmp_path).of(trunk, images), images)
    assert caplog.messages == ["waiting for features that another process computes"]
    assert len(next(tmp_path.rglob("keys.txt")).read_text().splitlines()) == 120


@pytest.mark.parametrize("wanted", [40, 80], ids=["all known", "some missing"])
@pytest.mark.parametrize("change", [-5, 5], ids=["cut off", "begun"])
def test_a_part_of_a_last_row_is_survived(tmp_path: Path, wanted: int, change: int) -> None:
    trunk, _ = flattening()
    images = tiny(80)
    FeatureCache(tmp_path).of(trunk, images[:40])
    rows = next(tmp_path.rglob("rows.f16"))
    content = rows.read_bytes()
    rows.write_bytes(content[:change] if change < 0 else content + b"-" * change)
    assert_rows(FeatureCache(tmp_path).of(trunk, images[:wanted]), images[:wanted])
    assert_rows(FeatureCache(tmp_path).of(trunk, images), images)


def test_a_store_with_a_key_twice_is_begun_anew(tmp_path: Path) -> None:
    trunk, _ = flattening()
    images = tiny(40)
    before = FeatureCache(tmp_path).of(trunk, images)
    rows = next(tmp_path.rglob("rows.f16"))
    keys = rows.with_name("keys.txt")
    rows.write_bytes(rows.read_bytes() + bytes(2 * 48))
    keys.write_text(keys.read_text() + keys.read_text().splitlines()[3] + "\n")
    assert_rows(FeatureCache(tmp_path).of(trunk, images), images)
    assert len(keys.read_text().splitlines()) == 40
    assert_rows(before, images)


def flattening() -> tuple[Trunk, keras.Model]:
    """A trunk that gives each value of an image, divided by 255; and what is behind it."""
    inputs = keras.Input((4, 4, 3), dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Flatten(name="frozen")(x)
    trunk, trained = cut(keras.Model(inputs, keras.layers.Dense(4)(x)), ("frozen",))
    assert trunk is not None
    return trunk, trained


def tiny(count: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)


def assert_rows(rows: FeatureRows, images: Pixels) -> None:
    """Each image has its own row of `flattening`."""
    expected = images.reshape(len(images), 48) / np.float32(255)
    assert np.abs(rows[np.arange(len(rows))] - expected).max() < 1e-3


def test_a_network_that_trains_in_bfloat16_has_its_frozen_part_computed(tmp_path: Path) -> None:
    images = drawn(4)
    features = {}
    for precision in ("float32", "mixed_bfloat16"):
        keras.mixed_precision.set_global_policy(precision)
        try:
            trunk, _ = cut(small_vgg(), (POOLED,))
        finally:
            keras.mixed_precision.set_global_policy("float32")
        assert trunk is not None
        features[precision] = FeatureCache(tmp_path).of(trunk, images, precision)[np.arange(4)]
    full, half = features["float32"], features["mixed_bfloat16"]
    assert np.abs(half - full).max() < 0.02 * np.abs(full).max()
    assert len(list(tmp_path.rglob("rows.f16"))) == 2


_PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from services.trainer.features import FeatureCache, cut
from shared.models.architectures.blocks import POOLED
from tests.networks import small_vgg
trunk, _ = cut(small_vgg(), (POOLED,))
images = np.random.default_rng(0).integers(0, 256, (160, 224, 224, 3), dtype=np.uint8)
FeatureCache(Path(sys.argv[1])).of(trunk, images)
"""


@pytest.mark.exhaustive
@pytest.mark.slow
def test_rows_that_were_computed_before_a_kill_are_kept(tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    first = start(killed)
    eventually(lambda: keys_in(killed) > 0, 120)
    first.send_signal(signal.SIGKILL)
    first.wait()
    kept = keys_in(killed)
    assert 0 < kept < 160, "it was killed too late"
    before = rows_of(killed)
    assert start(killed).wait() == 0
    assert start(whole).wait() == 0
    after = rows_of(killed)
    row = len(after) // 160
    assert after[: kept * row] == before[: kept * row]
    assert after == rows_of(whole)
    assert len(set(next(killed.rglob("keys.txt")).read_text().split())) == 160


def start(cache: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _PROGRAM, cache], stderr=subprocess.DEVNULL)


def keys_in(cache: Path) -> int:
    return sum(file.read_text().count("\n") for file in cache.rglob("keys.txt"))


def rows_of(cache: Path) -> bytes:
    return next(cache.rglob("rows.f16")).read_bytes()
