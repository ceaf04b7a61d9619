"""Every text of the console has its Indonesian, and no Indonesian is left over."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

from services.api.console import words
from shared.settings import PROJECT_ROOT as ROOT

CONSOLE = Path(words.__file__).parent
_SAID = re.compile(r"""_\(\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)')""")


def said() -> set[str]:
    found: set[str] = set()
    for path in [*CONSOLE.rglob("*.html"), *CONSOLE.rglob("*.py")]:
        found.update(one or other for one, other in _SAID.findall(path.read_text()))
    return found


@pytest.mark.parametrize("text", sorted(said()))
def test_a_text_has_its_indonesian(text: str) -> None:
    assert words.indonesian().get(text)


def test_no_indonesian_is_left_over() -> None:
    """What no template says is the text of an error or a code, which pages say by its name."""
    sources = [path for folder in ("services", "shared") for path in (ROOT / folder).rglob("*.py")]
    constants = {
        node.value
        for path in sources
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant)
    }
    assert set(words.indonesian()) - said() - constants == set()


def test_an_indonesian_text_keeps_the_places_of_values() -> None:
    wrong = [
        english
        for english, text in words.indonesian().items()
        if sorted(re.findall(r"{\w+}", english)) != sorted(re.findall(r"{\w+}", text))
    ]
    assert wrong == []


def test_no_text_is_translated_twice() -> None:
    seen: list[str] = []
    for path in sorted(words.FOLDER.glob("*.toml")):
        seen += tomllib.loads(path.read_text())
    assert sorted(seen) == sorted(set(seen))
