"""The words of the pages. English stands in the templates; here it is found in other languages.

A file of `indonesian/` holds the Indonesian of one area: `"English" = "Indonesian"`.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

from flask import session

from services.api.language import chosen_language
from shared.triage.wording import Language

FOLDER = Path(__file__).parent / "indonesian"


@cache
def indonesian() -> dict[str, str]:
    """All Indonesian words, by the English ones."""
    words: dict[str, str] = {}
    for path in sorted(FOLDER.glob("*.toml")):
        words.update(tomllib.loads(path.read_text()))
    return words


def language() -> Language:
    """What the visitor has chosen, else what the browser asks for."""
    chosen = session.get("language")
    return Language(chosen) if chosen else chosen_language()


def say(english: str, **values: object) -> str:
    """A text of a page in the visitor's language; `{name}` stands for a value."""
    text = english
    if language() is Language.INDONESIAN:
        text = indonesian().get(english, english)
    return text.format(**values) if values else text
