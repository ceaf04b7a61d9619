"""`hemotriage explain`: explain predictions in this process."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import click

from shared.errors import ImageError
from shared.explanations.explain import explain
from shared.explanations.method import Method
from shared.imaging.decode import check_image, decode_image
from shared.models.precision import FULL
from shared.models.predictor import Predictor
from shared.models.registry import ModelRegistry
from shared.settings import InferenceSettings
from shared.triage.labels import LABELS, Label


@click.command("explain")
@click.argument(
    "files",
    metavar="FILE...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@click.option("--model", default="champion", show_default=True, help="Alias, NAME or NAME@VERSION.")
@click.option(
    "--method",
    type=click.Choice([str(method) for method in Method]),
    default=str(Method.GRADCAM),
    show_default=True,
    help="A tenth of a second; or, for lime, seconds to minutes.",
)
@click.option(
    "--label",
    type=click.Choice([str(label) for label in LABELS]),
    help="The class to explain; by default the predicted one.",
)
@click.option(
    "--out-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Folder of the pictures; by default the current one.",
)
def command(
    files: tuple[Path, ...], *, model: str, method: str, label: str | None, out_dir: Path
) -> None:
    """Explain what a model says of image files.

    Draws a picture NAME.METHOD.png of each, and prints one JSON object a line: `file`, `picture`
    and the figures, or `file` and `error`. Any error makes the exit code 1.
    """
    pictures = [out_dir / f"{file.stem}.{method}.png" for file in files]
    twice = [str(picture) for picture, count in Counter(pictures).items() if count > 1]
    if twice:
        raise click.UsageError(f"More than one file would be drawn to {', '.join(twice)}.")
    given = {file.resolve() for file in files}
    if lost := [str(picture) for picture in pictures if picture.resolve() in given]:
        raise click.UsageError(f"It would be drawn over: {', '.join(lost)}.")
    settings = InferenceSettings()
    version = ModelRegistry(settings.models_dir).resolve(model)
    predictor = Predictor.load_in(FULL, version, settings, maps=True)
    out_dir.mkdir(parents=True, exist_ok=True)
    faults = 0
    for file, picture in zip(files, pictures, strict=True):
        said: dict[str, Any]
        try:
            source = io.BytesIO(file.read_bytes())
            check_image(source, max_pixels=settings.max_pixels)
            field = decode_image(source, max_pixels=settings.max_pixels).image
        except ImageError as error:
            faults += 1
            said = {"error": {"code": error.code, "detail": str(error)}}
        else:
            found = explain(predictor, field, Method(method), Label(label) if label else None)
            picture.write_bytes(found.png)
            said = {"picture": str(picture), **found.document}
        click.echo(json.dumps({"file": str(file), **said}))
    if faults:
        raise click.exceptions.Exit(1)
