"""What another data set shows is found, also by a chain of overlaps."""

from __future__ import annotations

from pathlib import Path

from services.trainer.groups import ContentOverlap
from services.trainer.leaks import OtherSet, find_leaks


def other(name: str, *hashes: str) -> OtherSet:
    return OtherSet(name, dict.fromkeys(hashes, Path()))


def overlap(first: str, second: str) -> ContentOverlap:
    return ContentOverlap(first, second, share=0.5, correlation=0.9)


def test_the_same_content_leaks() -> None:
    assert find_leaks(["a", "b"], [other("test", "b", "c")], []) == {"b": ("test",)}


def test_an_overlap_leaks_and_so_does_what_is_chained_to_it() -> None:
    overlaps = [overlap("a", "b"), overlap("b", "t"), overlap("c", "d")]
    found = find_leaks(["a", "b", "c", "d"], [other("test", "t")], overlaps)
    assert found == {"a": ("test",), "b": ("test",)}


def test_every_set_that_shows_it_is_named() -> None:
    others = [other("second", "a"), other("first", "t"), other("third", "x")]
    assert find_leaks(["a"], others, [overlap("a", "t")]) == {"a": ("second", "first")}


def test_nothing_leaks_where_nothing_is_shared() -> None:
    assert find_leaks(["a", "b"], [], [overlap("a", "b")]) == {}
    assert find_leaks(["a", "b"], [other("test", "t")], [overlap("a", "b")]) == {}
