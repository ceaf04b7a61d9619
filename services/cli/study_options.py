"""The options of `hemotriage study`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
from pydantic import TypeAdapter, ValidationError

from services.cli.files import FILE, in_a_folder
from services.cli.models import STUDY_WORK
from services.cli.overrides import set_option
from services.trainer.plan import Recipe
from services.trainer.splits import Protocol

_STUDY_MODELS = "cnn_custom,vgg16_baseline,vgg16_finetune"


def _seeds(context: click.Context, option: click.Parameter, given: str) -> tuple[int, ...]:
    try:
        seeds = tuple(int(seed) for seed in given.split(","))
    except ValueError:
        seeds = ()
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise click.BadParameter("numbers from 0 with commas between, each once", context, option)
    return seeds


def _source(
    context: click.Context, option: click.Parameter, given: Path | None
) -> dict[str, str] | None:
    if given is None:
        return None
    try:
        return TypeAdapter(dict[str, str]).validate_json(given.read_bytes())
    except ValidationError as error:
        raise click.BadParameter("a JSON object of texts", context, option) from error


_FOLDER = click.Path(file_okay=False, path_type=Path)
_OPTIONS = (
    click.option(
        "--models",
        default=_STUDY_MODELS,
        show_default=True,
        help="Architectures, or `ensemble` for the mean of --members.",
    ),
    click.option(
        "--protocol",
        type=click.Choice([str(protocol) for protocol in Protocol]),
        default=str(Protocol.GROUPED),
        show_default=True,
    ),
    click.option(
        "--recipe",
        type=click.Choice([str(recipe) for recipe in Recipe]),
        default=str(Recipe.STUDY),
        show_default=True,
        help="The published training, or ours.",
    ),
    click.option(
        "--groups",
        type=click.Choice(["auto", "manifest", "detected"]),
        default="auto",
        show_default=True,
        help="Groups of overlapping fields: of a manifest.csv, or found among the pixels.",
    ),
    click.option("--split-seed", type=click.IntRange(min=0), default=2022, show_default=True),
    click.option(
        "--seeds", default="1,2,3", show_default=True, callback=_seeds, help="A run each."
    ),
    click.option(
        "--precision",
        type=click.Choice(["float32", "mixed_bfloat16"]),
        default="float32",
        show_default=True,
        help="Of the training arithmetic; weights are always float32.",
    ),
    click.option(
        "--representation",
        type=click.Choice(["original", "segmented"]),
        default="original",
        show_default=True,
        help="Train on the fields, or on their cells cut out by colour.",
    ),
    click.option("--max-epochs", type=click.IntRange(min=1), help="Instead of the plan's."),
    click.option(
        "--images-per-class",
        type=click.IntRange(min=1),
        help="Of an epoch, instead of the plan's.",
    ),
    set_option,
    click.option(
        "--with-validation",
        is_flag=True,
        help="Train on the validation part too; a run without it gives the calibration.",
    ),
    click.option("--teacher", help="Learn this version's probabilities (distillation)."),
    click.option(
        "--base",
        help="Start from this version's weights; it trained without the validation part.",
    ),
    click.option("--members", help="Versions that `--models ensemble` joins."),
    click.option(
        "--work",
        type=_FOLDER,
        default=STUDY_WORK,
        show_default=True,
        help="Runs and features; what is finished is not done again.",
    ),
    click.option(
        "--version",
        type=click.IntRange(min=1),
        help="Export the run with the least validation loss as this version; the first run, where "
        "the validation part trained too.",
    ),
    click.option("--every-seed", is_flag=True, help="Export each run, counting from --version."),
    click.option(
        "--robustness/--no-robustness",
        default=True,
        show_default=True,
        help="Measure exports under changed stain, light and focus too.",
    ),
    click.option(
        "--gate/--no-gate",
        default=True,
        show_default=True,
        help="Make the int8 form of exports, and ask the parity gate of lower precisions.",
    ),
    click.option(
        "--explanations/--no-explanations",
        default=True,
        show_default=True,
        help="Measure how faithful explanations of exports are, and keep cases to compare with.",
    ),
    click.option(
        "--source",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        callback=_source,
        help="JSON for the card: `name`, `paper`, `data` and `terms` of the images.",
    ),
    click.option("--models-dir", type=_FOLDER, help="Where versions are, and go."),
    click.option(
        "--json",
        "json_file",
        type=FILE,
        callback=in_a_folder,
        help="Write the report here, if models are trained.",
    ),
    click.option(
        "--html",
        "html_file",
        type=FILE,
        callback=in_a_folder,
        help="The same as a page with tables and plots.",
    ),
)


def study_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `hemotriage study`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
