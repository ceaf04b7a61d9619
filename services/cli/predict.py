"""`hemotriage predict`: classify images in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import click
import numpy as np

from shared.errors import ImageError, UnsupportedMediaTypeError
from shared.imaging import Pixels
from shared.imaging.decode import load_model_input
from shared.imaging.quality import measure_quality
from shared.models.predictor import Predictor
from shared.models.registry import ModelRegistry
from shared.settings import InferenceSettings
from shared.triage.result import field_result

_CHUNK = 64


@click.command("predict")
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--model", default="champion", show_default=True, help="Alias, NAME or NAME@VERSION.")
@click.option(
    "--jsonl",
    type=click.Path(path_type=Path),
    is_flag=False,
    flag_value="-",
    help="Write the lines to this file; without a file, to standard output, as by default.",
)
def command(paths: tuple[Path, ...], model: str, jsonl: Path | None) -> None:
    """Classify image files; folders are walked.

    Writes one JSON object a line: `file` and the fields of one image's result, or `file` and
    `error`. Any error makes the exit code 1. In a folder, a file that is no image at all is passed
    over.
    """
    if not paths and jsonl is not None and jsonl.exists():
        paths, jsonl = (jsonl,), None  # `predict --jsonl DIR`: the option takes no value here
    if not paths:
        raise click.UsageError("Name at least one file or folder.")
    settings = InferenceSettings()
    version = ModelRegistry(settings.models_dir).resolve(model)
    predictor = Predictor.load(version, settings)
    with click.open_file(str(jsonl or "-"), "w") as out:
        faults = _predict_all(predictor, paths, settings, out)
    if faults:
        raise click.exceptions.Exit(1)


def _predict_all(
    predictor: Predictor, paths: tuple[Path, ...], settings: InferenceSettings, out: IO[str]
) -> int:
    faults = 0
    chunk: list[tuple[Path, Pixels]] = []
    for path, named in _files(paths):
        try:
            chunk.append((path, load_model_input(path, max_pixels=settings.max_pixels)))
        except ImageError as error:
            if isinstance(error, UnsupportedMediaTypeError) and not named:
                continue
            faults += 1
            fault = {"code": error.code, "detail": str(error)}
            out.write(json.dumps({"file": str(path), "error": fault}) + "\n")
        if len(chunk) == _CHUNK:
            _write(predictor, chunk, out)
            chunk = []
    if chunk:
        _write(predictor, chunk, out)
    return faults


def _files(paths: tuple[Path, ...]) -> Iterator[tuple[Path, bool]]:
    """Each file once, with whether it was named itself."""
    for path in paths:
        if path.is_dir():
            yield from ((found, False) for found in sorted(path.rglob("*")) if found.is_file())
        else:
            yield path, True


def _write(predictor: Predictor, chunk: list[tuple[Path, Pixels]], out: IO[str]) -> None:
    prediction = predictor.predict(np.stack([pixels for _, pixels in chunk]))
    for index, (path, pixels) in enumerate(chunk):
        evidence = prediction.evidence(index, measure_quality(pixels))
        result = field_result(0, evidence, predictor.members).model_dump(mode="json")
        model = predictor.reference.model_dump()
        out.write(json.dumps({"file": str(path), **result, "model": model}) + "\n")
