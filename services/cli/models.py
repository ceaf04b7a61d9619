"""`hemotriage models`: the model versions that are installed here, and those of the service."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
from rich.table import Table

from services.cli.explanation_table import explanation_table
from services.cli.registry import COMMANDS_OF_THE_SERVICE
from services.cli.rendering import stdout_console
from shared.errors import DatasetError, ImageError, UnsupportedMediaTypeError
from shared.imaging import Pixels
from shared.imaging.decode import load_model_input, to_model_input
from shared.models.formats import Format
from shared.models.precision import LOWER, Precision
from shared.models.registry import ModelRegistry
from shared.settings import InferenceSettings

STUDY_WORK = Path("var/study")
"""Where `hemotriage study` keeps runs, unless told otherwise."""

_DRAWN = 16


def _of_version_and_images(command: Callable[..., None]) -> Callable[..., None]:
    """The arguments of what looks at a version and the images that it was trained from."""
    for add in (
        click.option(
            "--groups",
            type=click.Choice(["auto", "manifest", "detected"]),
            default="auto",
            show_default=True,
            help="Groups of overlapping fields, as in the study that made the version.",
        ),
        click.argument(
            "folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path)
        ),
        click.argument("model"),
    ):
        command = add(command)
    return command


@click.group("models")
def command() -> None:
    """List, show and export the model versions here; judge and promote those of the service.

    `registered`, `judge`, `promote`, `challenge`, `shadow`, `retire` and `rollback` go to the
    service of HEMOTRIAGE_URL and HEMOTRIAGE_API_KEY, or to that of `make run`; the key needs the
    scope `admin`.
    """


for of_service in COMMANDS_OF_THE_SERVICE:
    command.add_command(of_service)


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_versions(as_json: bool) -> None:
    """List the versions with their aliases."""
    registry = ModelRegistry(InferenceSettings().models_dir)
    aliases = registry.aliases()
    rows = [
        {
            "model": str(version),
            "aliases": [alias for alias, target in aliases.items() if target == str(version)],
            "parameters": version.card["parameters"],
            "accuracy": version.card["metrics"]["accuracy"],
            "split": version.card["split"]["protocol"],
        }
        for version in registry.versions()
    ]
    if as_json:
        click.echo(json.dumps(rows))
        return
    table = Table("model", "aliases", "parameters", "accuracy [95 %]", "split")
    for row in rows:
        accuracy = row["accuracy"]
        low, high = accuracy["wilson95"]
        shown = f"{accuracy['value']:.4f} [{low:.4f}, {high:.4f}]"
        names = ", ".join(row["aliases"])
        table.add_row(row["model"], names, f"{row['parameters']:,}", shown, row["split"])
    stdout_console().print(table)


@command.command("show")
@click.argument("model", default="champion")
@click.option(
    "--html",
    "page",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the card as a page with plots, instead.",
)
def show(model: str, page: Path | None) -> None:
    """Print the card of MODEL: an alias, NAME or NAME@VERSION."""
    version = ModelRegistry(InferenceSettings().models_dir).resolve(model)
    if page is None:
        click.echo(json.dumps(version.card, indent=2))
        return
    # Loads what draws plots, which the other commands of this module do without.
    html_report = importlib.import_module("services.trainer.report").html_report
    page.write_text(html_report(version.card), encoding="utf-8")


@command.command("export")
@click.argument("model")
@click.option(
    "--format",
    "target",
    type=click.Choice([str(target) for target in Format]),
    required=True,
    help="File format, with the precision of its weights.",
)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The file."
)
@click.option(
    "--images",
    "folder",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Smear images, in class folders or not, on which the file is compared with Keras; "
    "drawn fields without it. For tflite-int8, training images from which it is calibrated.",
)
def export(model: str, target: str, out: Path, folder: Path | None) -> None:
    """Write MODEL, an alias, NAME or NAME@VERSION, as one file.

    It is written only if it then answers as the Keras model does.
    """
    if folder is None and target == Format.TFLITE_INT8:
        raise click.UsageError("tflite-int8 needs --images: training images to calibrate it.")
    settings = InferenceSettings()
    version = ModelRegistry(settings.models_dir).resolve(model)
    images = _draw() if folder is None else _read(folder, settings.max_pixels)
    # Loads TensorFlow, which the other commands of this module do without.
    convert = importlib.import_module("services.trainer.convert").convert
    written = convert(version, Format(target), out, images)
    parity = written["parity"]
    click.echo(f"{version} as {target}: {out}")
    click.echo(f"{written['bytes']:,} bytes, weights {written['weights']}")
    click.echo(f"SHA-256 {written['sha256']}")
    click.echo(
        f"parity on {parity['images']} {'drawn fields' if folder is None else 'images'}: "
        f"{parity['equal_labels']} labels equal to those of Keras, largest difference "
        f"{parity['largest_difference']:.1e}, mean {parity['mean_difference']:.1e}"
    )


@command.command("gate")
@_of_version_and_images
@click.option(
    "--precision",
    "among",
    type=click.Choice(LOWER),
    multiple=True,
    default=LOWER,
    help="Only this one; repeatable.",
)
def gate(model: str, folder: Path, groups: str, among: tuple[Precision, ...]) -> None:
    """Ask the parity gate of MODEL for each lower precision that this machine computes.

    DIR holds the images that the version was trained from, one folder a class. Its int8 form is
    made if it is missing. The verdicts go into the card; a precision without a passed one is never
    used. Fails if one did not pass.
    """
    settings = InferenceSettings()
    version = ModelRegistry(settings.models_dir).resolve(model)
    # These load TensorFlow, which the other commands of this module do without.
    origin_of = importlib.import_module("services.trainer.siblings").origin_of
    add_precisions = importlib.import_module("services.trainer.precisions").add_precisions
    origin = origin_of(version, folder, settings, groups=groups, work=STUDY_WORK)
    verdicts = add_precisions(
        version, origin.split, settings, dataset_version=origin.dataset.version, among=among
    )
    for precision, verdict in verdicts.items():
        said = "passed" if verdict["passed"] else "refused"
        speed = verdict["speed"]
        click.echo(
            f"{version} in {precision} ({settings.engine}): {said}. {verdict['labels_changed']} of "
            f"{verdict['images']} labels changed ({verdict['labels_allowed']} allowed, of at least "
            f"{verdict['images_needed']} images), "
            f"{verdict['urgent_lowered']} urgent ones lowered (0), largest difference "
            f"{verdict['largest_difference']:.3f} ({verdict['difference_allowed']}); "
            f"{speed[precision]['images_per_second']:.0f} images/s against "
            f"{speed['f32']['images_per_second']:.0f}"
        )
    if not verdicts:
        asked = " or ".join(among)
        click.echo(f"{settings.engine} does not compute in {asked} on this machine.")
    if not all(verdict["passed"] for verdict in verdicts.values()):
        raise click.exceptions.Exit(1)


@command.command("assure")
@_of_version_and_images
@click.option(
    "--work",
    type=click.Path(file_okay=False, path_type=Path),
    default=STUDY_WORK,
    show_default=True,
    help="Runs of the study; one that is needed and not there is trained first.",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "mixed_bfloat16"]),
    help="Of that training; by default the version's own.",
)
def assure(model: str, folder: Path, groups: str, work: Path, precision: str | None) -> None:
    """Fit what lets results of MODEL be doubted: conformal sets, and the distance to its images.

    DIR holds the images that the version was trained from, one folder a class. What is fitted goes
    into the card and into `reference-HASH.npz`. Versions that are exported now have it already.
    """
    settings = InferenceSettings()
    version = ModelRegistry(settings.models_dir).resolve(model)
    # These load TensorFlow, which the other commands of this module do without.
    origin_of = importlib.import_module("services.trainer.siblings").origin_of
    assure_again = importlib.import_module("services.trainer.release").assure_again
    origin = origin_of(version, folder, settings, groups=groups, work=work, precision=precision)
    review = assure_again(version, origin)
    free, foreign = review["unreviewed"], review["flagged_as_unlike"]
    click.echo(
        f"{version}: {free['coverage']:.1%} of {foreign['of']} held-out images need no review, "
        f"{free['errors']['count']} of these are wrong; {foreign['count']} are taken for foreign"
    )
    click.echo("Ask the gate again: its verdicts are of other thresholds.")


@command.command("explain")
@_of_version_and_images
@click.option(
    "--images-per-class",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="Held-out images a class on which explanations are measured.",
)
def explain(model: str, folder: Path, groups: str, images_per_class: int) -> None:
    """Measure how faithful explanations of MODEL are, and keep its training images as cases.

    DIR holds the images that the version was trained from, one folder a class. The measures go into
    the card, the cases into a file beside it. Versions that are exported now have both already.
    """
    settings = InferenceSettings()
    version = ModelRegistry(settings.models_dir).resolve(model)
    # These load TensorFlow, which the other commands of this module do without.
    origin_of = importlib.import_module("services.trainer.siblings").origin_of
    explain_again = importlib.import_module("services.trainer.release").explain_again
    origin = origin_of(version, folder, settings, groups=groups, work=STUDY_WORK)
    explanation = explain_again(version, origin, images_per_class=images_per_class)
    title = f"{version}, {explanation['images']} held-out images"
    stdout_console(width=110).print(explanation_table(title, explanation))
    nearest = version.card["cases"].get("nearest_has_the_true_label")
    if nearest is not None:
        click.echo(
            f"The training image taken for the most similar has the true label in "
            f"{nearest['count']} of {nearest['of']} held-out images."
        )


def _draw() -> Pixels:
    try:
        draw_smear = importlib.import_module("shared.local.synthetic").draw_smear
    except ModuleNotFoundError as error:  # containers do not hold the local mode
        raise click.UsageError("Here --images is needed.") from error
    return np.stack([to_model_input(draw_smear(seed)) for seed in range(_DRAWN)])


def _read(folder: Path, max_pixels: int) -> Pixels:
    """All smear images below a folder; what is no image at all is passed over."""
    images = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            images.append(load_model_input(path, max_pixels=max_pixels))
        except UnsupportedMediaTypeError:
            continue
        except ImageError as error:
            raise DatasetError(f"{path} cannot be used ({error.code}).") from error
    if not images:
        raise DatasetError(f"There is no image in {folder}.")
    return np.stack(images)
