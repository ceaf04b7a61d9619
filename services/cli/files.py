"""Files that a command writes when its work is done."""

from __future__ import annotations

from pathlib import Path

import click

FILE = click.Path(dir_okay=False, writable=True, path_type=Path)
"""The type of an option that names such a file."""


def in_a_folder(context: click.Context, option: click.Parameter, given: Path | None) -> Path | None:
    """Refuse a file in a folder that does not exist, before the work is done.

    Raises:
        click.BadParameter: There is no such folder.
    """
    if given is not None and not given.parent.is_dir():
        raise click.BadParameter(f"there is no folder {given.parent}", context, option)
    return given
