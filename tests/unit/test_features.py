"""The frozen part of a network is computed once an image, whatever stops the computing."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from services.trainer.features import FeatureCache, cut
from shared.models.architectures.blocks import POOLED
from tests.networks import drawn, small_vgg
from tests.waiting import eventually


def test_features_are_computed_once_and_an_interrupted_store_goes_on(tmp_path: Path) -> None:
    inputs = keras.Input((4, 4, 3), dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Flatten(name="frozen")(x)
    model = keras.Model(inputs, keras.layers.Dense(4)(x))
    trunk, trained = cut(model, ("frozen",))
    assert trunk is not None
    assert trained.input.shape == (None, 48)
    images = np.random.default_rng(0).integers(0, 256, (80, 4, 4, 3), dtype=np.uint8)
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
