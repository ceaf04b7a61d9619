"""The frozen part of a network, computed once an image and kept by content hash.

A frozen layer gives the same for the same pixels in every epoch, seed and run. Its output is
computed by the fast engine and kept on disk, so that training costs only what is trained.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import openvino as ov
from numpy.typing import NDArray

from services.trainer.onnx_graph import to_onnx
from services.trainer.plan import Precision
from services.trainer.progress import progress_bar
from shared.file_lock import file_lock
from shared.imaging import Pixels

FEATURE_TYPE = np.float16
"""Half precision halves the disk; activations of ReLU networks stay far below its 65,504."""

_CHUNK = 32
_KEY_LINE = 65
"""Bytes of a line of keys: SHA-256 in hexadecimal digits, and its end."""

_ENGINE_PRECISION = {"float32": "f32", "mixed_bfloat16": "bf16"}


@dataclass(frozen=True)
class Trunk:
    """The frozen part of a network, in one or more stages, each cached.

    Two networks whose first stages have equal weights share that stage's features.
    """

    stages: tuple[keras.Model, ...]


def cut(model: keras.Model, frozen_at: tuple[str, ...]) -> tuple[Trunk | None, keras.Model]:
    """Split a network behind its last frozen layer.

    Args:
        model: A chain of layers at and behind the cuts.
        frozen_at: Names of the layers to cut behind, in the order of the data; may be empty.

    Returns:
        The frozen trunk, or None; and the trained part, which shares its layers with the model, so
        that what trains it trains the model.
    """
    if not frozen_at:
        return None, model
    stages = [keras.Model(model.input, model.get_layer(frozen_at[0]).output)]
    for before, name in itertools.pairwise(frozen_at):
        stages.append(_chain(model, before, name))
    return Trunk(tuple(stages)), _chain(model, frozen_at[-1], model.layers[-1].name)


def _chain(model: keras.Model, after: str, until: str) -> keras.Model:
    names = [layer.name for layer in model.layers]
    first, last = names.index(after) + 1, names.index(until)
    inputs = x = keras.Input(model.get_layer(after).output.shape[1:])
    for layer in model.layers[first : last + 1]:
        x = layer(x)
    return keras.Model(inputs, x)


class FeatureRows:
    """Features on disk behind the interface of an array: rows are chosen by an index array."""

    def __init__(self, kept: NDArray[Any], rows: NDArray[np.int64]) -> None:
        self._kept, self._rows = kept, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, chosen: NDArray[np.int64] | list[int]) -> NDArray[np.float32]:
        features: NDArray[np.float32] = self._kept[self._rows[chosen]].astype(np.float32)
        return features


class FeatureCache:
    """Features on disk: a folder a stage, in it the rows and the content hash of each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, trunk: Trunk, images: Pixels, precision: Precision = "float32") -> FeatureRows:
        """The trunk's output for each image, shape (n, ...), computing what is not kept yet.

        An interrupted call leaves whole rows behind, and the next one goes on with them. While
        another process computes features of the same stage, this one waits for it.
        """
        keys = [hashlib.sha256(image.tobytes()).hexdigest() for image in images]
        digest = hashlib.sha256(precision.encode())
        inputs: Pixels | FeatureRows = images
        for stage in trunk.stages:
            _add_network(digest, stage)
            store = _Store(self._folder / digest.hexdigest()[:16], stage, precision)
            inputs = store.rows(inputs, keys)
        assert isinstance(inputs, FeatureRows)  # noqa: S101
        return inputs


def _add_network(digest: hashlib._Hash, stage: keras.Model) -> None:
    for layer in stage.layers:
        digest.update(f"{type(layer).__name__}{layer.output.shape}".encode())
    for weights in stage.get_weights():
        digest.update(weights.tobytes())


class _Store:
    """The rows of one stage: `rows.f16`, and line i of `keys.txt` is the key of row i.

    Whoever reads the keys or appends holds the lock. Rows whose keys are written are never cut
    off, so that rows are read without it.
    """

    def __init__(self, folder: Path, stage: keras.Model, precision: Precision) -> None:
        self._stage, self._precision = stage, precision
        self._shape = tuple(stage.output.shape[1:])
        self._row_bytes = int(np.prod(self._shape)) * np.dtype(FEATURE_TYPE).itemsize
        folder.mkdir(parents=True, exist_ok=True)
        self._rows_file, self._keys_file = folder / "rows.f16", folder / "keys.txt"
        self._lock = folder / "lock"

    def rows(self, inputs: Pixels | FeatureRows, keys: list[str]) -> FeatureRows:
        with file_lock(self._lock, waiting_for="features that another process computes"):
            known = self._known()
            # The same pixels twice are computed once.
            missing = {key: index for index, key in enumerate(keys) if key not in known}
            if missing:
                self._compute(inputs, missing, known)
            # Behind the known rows there may be a part of one.
            shape = (len(known), *self._shape)
            kept = np.memmap(self._rows_file, FEATURE_TYPE, "r", shape=shape)
        return FeatureRows(kept, np.array([known[key] for key in keys]))

    def _known(self) -> dict[str, int]:
        """Row by key, of rows that are whole: a key is written after its row."""
        if not (self._keys_file.exists() and self._rows_file.exists()):
            return {}
        lines = self._keys_file.read_text().splitlines(keepends=True)
        whole = [line.strip() for line in lines if line.endswith("\n")]
        known = {key: row for row, key in enumerate(whole)}
        if len(known) < len(whole):
            # Two processes wrote at once, before there was a lock: no row is sure.
            self._keys_file.unlink()
            self._rows_file.unlink()
            return {}
        rows = self._rows_file.stat().st_size // self._row_bytes
        return dict(itertools.islice(known.items(), rows))

    def _compute(
        self, inputs: Pixels | FeatureRows, missing: dict[str, int], known: dict[str, int]
    ) -> None:
        engine = _Engine(self._stage, self._precision)
        names, indices = list(missing), list(missing.values())
        self._keys_file.touch()
        os.truncate(self._keys_file, len(known) * _KEY_LINE)
        with progress_bar() as bar, self._rows_file.open("ab") as rows:
            rows.truncate(len(known) * self._row_bytes)
            task = bar.add_task("frozen layers, once an image", total=len(missing))
            for start in range(0, len(names), _CHUNK):
                features = engine(inputs[indices[start : start + _CHUNK]])
                rows.write(features.astype(FEATURE_TYPE).tobytes())
                rows.flush()
                chunk = names[start : start + _CHUNK]
                known.update({key: len(known) + i for i, key in enumerate(chunk)})
                with self._keys_file.open("a") as file:
                    file.writelines(f"{key}\n" for key in chunk)
                bar.advance(task, len(chunk))


class _Engine:
    """OpenVINO on the stage, in a precision that is stated."""

    def __init__(self, stage: keras.Model, precision: Precision) -> None:
        core = ov.Core()
        # Float32 in the graph, whatever trains the rest: the engine is told its precision.
        graph = core.read_model(to_onnx(as_float32(stage)).SerializeToString())
        hint = {"INFERENCE_PRECISION_HINT": _ENGINE_PRECISION[precision]}
        self._compiled = core.compile_model(graph, "CPU", hint)

    def __call__(self, inputs: NDArray[Any]) -> NDArray[np.float32]:
        outputs: NDArray[np.float32] = self._compiled(np.ascontiguousarray(inputs))[0]
        return outputs


def as_float32(model: keras.Model) -> keras.Model:
    """A copy that computes in float32, as weights are in every precision of training."""

    def of_layer(layer: keras.Operation) -> keras.Operation:
        config = layer.get_config()
        if isinstance(layer, keras.Layer):
            config["dtype"] = "float32"
        return type(layer).from_config(config)

    copy = keras.models.clone_model(model, clone_function=of_layer)
    copy.set_weights(model.get_weights())
    return copy
