"""Fields that show the same area of a slide are found by their pixels."""

from __future__ import annotations

import io
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from services.trainer.dataset import Dataset, read_dataset
from services.trainer.groups import detect_overlaps, name_groups
from services.trainer.overlap import connect, find_overlaps
from shared.imaging import INPUT_SIZE, Pixels
from shared.local.synthetic import draw_smear
from shared.triage.labels import LABELS
from tests.factories import encode


def area(seed: int) -> Image.Image:
    """A drawn area of a slide, of four fields."""
    return draw_smear(seed, size=2 * INPUT_SIZE, red_cells=150, nucleated_cells=20)


def crop(image: Image.Image, down: int = 0, right: int = 0) -> Image.Image:
    return image.crop((right, down, right + INPUT_SIZE, down + INPUT_SIZE))


def with_bar(field: Image.Image, text: str) -> Image.Image:
    """The field with a scale bar burnt into its lower right corner."""
    marked = field.copy()
    draw = ImageDraw.Draw(marked)
    draw.rectangle((190, 195, 223, 215), fill="white", outline="black")
    draw.line((192, 211, 221, 211), fill="black", width=3)
    draw.text((192, 196), text, fill="black")
    return marked


def pixels(field: Image.Image, quality: int = 75) -> Pixels:
    """What is left of a field once it was a JPEG."""
    return np.asarray(Image.open(io.BytesIO(encode(field, "JPEG", quality=quality))))


def pairs(images: Iterable[Pixels]) -> list[tuple[int, int]]:
    return [(overlap.first, overlap.second) for overlap in find_overlaps(images)]


def test_shifted_crops_of_one_area_are_found_among_others() -> None:
    slide = area(1)
    crops = [crop(slide), crop(slide, 60, 100), crop(slide, 200, 30), crop(area(2))]
    fields = [
        pixels(with_bar(field, "200 px"), quality)
        for field, quality in zip(crops, (60, 75, 90, 75), strict=True)
    ]
    found = find_overlaps(fields)
    assert [(overlap.first, overlap.second) for overlap in found] == [(0, 1), (1, 2)]
    assert found[0].share == pytest.approx((164 * 124 - 40**2) / 224**2, abs=0.01)
    assert found[0].correlation > 0.9
    assert connect(4, [(overlap.first, overlap.second) for overlap in found]) == [0, 0, 0, 1]


def test_the_same_scale_bar_is_no_overlap() -> None:
    fields = [pixels(with_bar(crop(area(seed)), "10 um"), 95) for seed in range(3, 9)]
    assert pairs(fields) == []


def test_another_scale_bar_hides_no_overlap() -> None:
    field = crop(area(1))
    assert pairs([pixels(with_bar(field, "200 px")), pixels(with_bar(field, "10 um"))]) == [(0, 1)]


def test_a_field_that_was_turned_and_scaled_a_little_is_found() -> None:
    slide = area(1)
    side = round(slide.width * 1.03)
    again = slide.resize((side, side), Image.Resampling.BICUBIC)
    again = again.rotate(3, Image.Resampling.BICUBIC)
    assert pairs([pixels(crop(slide, 110, 110)), pixels(crop(again, 130, 90))]) == [(0, 1)]


@pytest.mark.parametrize("nucleated_cells", [0, 3, 6])
def test_cells_that_happen_to_fit_are_no_overlap(nucleated_cells: int) -> None:
    """Few round cells before an empty ground: some pair of them fits at some shift."""
    fields = [
        np.asarray(draw_smear(seed, red_cells=5, nucleated_cells=nucleated_cells))
        for seed in range(30)
    ]
    assert pairs(fields) == []


def test_fields_that_show_nothing_do_not_overlap() -> None:
    blank = np.full((INPUT_SIZE, INPUT_SIZE, 3), 240, dtype=np.uint8)
    assert pairs([blank, blank, pixels(crop(area(1)))]) == []
    assert find_overlaps([]) == []


def test_a_group_is_what_is_linked_by_any_way() -> None:
    numbers = connect(6, [(4, 1), (1, 5)])
    assert numbers[1] == numbers[4] == numbers[5]
    assert len(set(numbers)) == 4
    assert connect(2, []) == [0, 1]


def test_what_was_found_once_is_not_searched_again(tmp_path: Path) -> None:
    slide = area(1)
    files = {}
    for name, field in {"b": crop(slide), "a": crop(slide, 40, 60), "c": crop(area(2))}.items():
        files[name] = tmp_path / f"{name}.png"
        field.save(files[name])
    (tmp_path / "d.png").write_text("no image")
    files["d"] = tmp_path / "d.png"
    found = detect_overlaps(files, cache=tmp_path / "cache")
    assert [(overlap.first, overlap.second) for overlap in found] == [("a", "b")]
    assert name_groups(list(files), found) == {"a": "a", "b": "a", "c": "c", "d": "d"}
    for path in files.values():
        path.unlink()
    assert detect_overlaps(files, cache=tmp_path / "cache") == found


def group_pairs(dataset: Dataset) -> set[tuple[str, str]]:
    groups: dict[str, list[str]] = {}
    for sample in dataset.samples:
        groups.setdefault(sample.group, []).append(f"{sample.label}/{sample.path.name}")
    return {pair for names in groups.values() for pair in combinations(sorted(names), 2)}


@pytest.mark.exhaustive
@pytest.mark.dataset
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_given_groups_of_the_real_images_are_found(dataset: Path, tmp_path: Path) -> None:
    """Each given group lies within a found one.

    The search also finds overlaps that the manifest lacks. That they are real shows in the classes:
    three quarters of all pairs are of two classes, and not one found overlap is.
    """
    given = read_dataset(dataset, groups="manifest")
    found = read_dataset(dataset, groups="detected", cache=tmp_path)
    assert len(group_pairs(given)) == 337
    assert group_pairs(given) <= group_pairs(found)
    assert len({sample.group for sample in given.samples}) == 2316
    assert len({sample.group for sample in found.samples}) == 2036
    classes = {(sample.group, sample.label) for sample in found.samples}
    assert len(classes) == 2036, "a group crosses classes"
    assert {label for _, label in classes} == set(LABELS)
