"""A bar for what takes a while outside of training."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from rich.console import Console
from rich.progress import track

Item = TypeVar("Item")


def with_bar(items: Iterable[Item], what: str, *, total: int | None = None) -> Iterable[Item]:
    """Pass items on; a bar on standard error says how far it is, and goes when it is done.

    Where that is no terminal there is none.

    Args:
        items: What is gone through.
        what: What is done with them.
        total: Their number, where `items` does not tell it.
    """
    console = Console(stderr=True)
    return track(
        items, what, total=total, transient=True, console=console, disable=not console.is_terminal
    )
