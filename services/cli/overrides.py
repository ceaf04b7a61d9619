"""`--set NAME=VALUE`: fields of a training plan that are to be other than the recipe's."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import click

set_option = click.option(
    "--set",
    "overrides",
    metavar="NAME=VALUE",
    multiple=True,
    help="Another value of the plan, such as learning_rate=0.001. May be repeated.",
)


def values_of(overrides: Iterable[str]) -> dict[str, Any]:
    """The fields and values of all `--set`.

    Raises:
        click.BadParameter: One is not NAME=VALUE.
    """
    return dict(_value_of(override) for override in overrides)


def _value_of(override: str) -> tuple[str, Any]:
    name, equals, text = override.partition("=")
    if not equals:
        raise click.BadParameter(f"{override!r} is not NAME=VALUE.", param_hint="--set")
    try:
        return name, json.loads(text)
    except ValueError:
        return name, text  # a word, such as mixed_bfloat16
