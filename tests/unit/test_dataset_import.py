"""Folders of labelled images become immutable data set versions."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from services.trainer.dataset import read_dataset
from services.trainer.importing import (
    Fault,
    ImportReport,
    import_dataset,
    read_version,
    read_versions,
)
from shared.errors import DatasetError, NotFoundError
from shared.imaging import INPUT_SIZE
from shared.local.synthetic import draw_smear
from shared.triage.labels import LABELS
from tests.factories import cmyk_jpeg, smear_bytes, truncated_jpeg


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three drawn fields a class; the first two of Pre show the same area."""
    root = tmp_path_factory.mktemp("clean")
    for number, label in enumerate(LABELS):
        (root / label).mkdir()
        for index in range(3):
            (root / label / f"{index}.png").write_bytes(smear_bytes(10 * number + index + 1))
    slide = draw_smear(99, size=2 * INPUT_SIZE, red_cells=150, nucleated_cells=20)
    for index, (right, down) in enumerate([(0, 0), (40, 50)]):
        field = slide.crop((right, down, right + INPUT_SIZE, down + INPUT_SIZE))
        field.save(root / "Pre" / f"{index}.png")
    return root


@pytest.fixture
def folder(clean: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return shutil.copytree(clean, tmp_path / "images")


def imported(folder: Path) -> ImportReport:
    """Import beside the folder."""
    return import_dataset(folder, folder.parent / "versions")


def faults(report: ImportReport) -> dict[str, tuple[str, bool]]:
    return {fault.file: (fault.code, fault.left_out) for fault in report.faults}


def test_a_version_holds_labels_hashes_groups_and_counts(folder: Path) -> None:
    report = imported(folder)
    record = json.loads(report.path.read_text())
    assert report.path.name == f"{report.version}.json"
    assert record == report.record
    assert record["version"] == read_dataset(folder, groups="none").version
    assert record["counts"] == dict.fromkeys(map(str, LABELS), 3)
    assert record["groups"] == 11
    assert len({image["sha256"] for image in record["images"]}) == 12
    assert {image["media_type"] for image in record["images"]} == {"image/png"}
    assert [pair[:2] for pair in report.overlaps] in (
        [("Pre/0.png", "Pre/1.png")],
        [("Pre/1.png", "Pre/0.png")],
    )
    assert (report.faults, report.duplicates) == ((), ())


def test_the_same_images_under_other_names_are_the_same_version(
    folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "elsewhere" / "images"
    for label in LABELS:
        (other / label).mkdir(parents=True)
        for index, path in enumerate(sorted((folder / label).iterdir(), reverse=True)):
            shutil.copy(path, other / label / f"field-{index}.png")
    first, second = imported(folder), imported(other)
    assert first.path != second.path
    assert first.path.read_bytes() == second.path.read_bytes()


def test_a_version_that_is_there_is_not_written_again(folder: Path) -> None:
    path = imported(folder).path
    before = path.stat()
    again = imported(folder).path
    assert (again.stat().st_ino, again.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert [file.name for file in path.parent.glob("*.*")] == [path.name]


def test_another_image_makes_another_version_and_leaves_the_first(folder: Path) -> None:
    first = imported(folder)
    before = first.path.read_bytes()
    (folder / "Pro" / "more.png").write_bytes(smear_bytes(77))
    second = imported(folder)
    assert second.version != first.version
    assert first.path.read_bytes() == before


def test_files_that_are_no_usable_images_are_reported_and_left_out(folder: Path) -> None:
    version = imported(folder).version
    (folder / "Benign" / "cut.jpg").write_bytes(truncated_jpeg())
    (folder / "Benign" / "empty.jpg").touch()
    (folder / "Early" / "notes.txt").write_text("text")
    (folder / "Early" / "print.jpg").write_bytes(cmyk_jpeg())
    report = imported(folder)
    assert faults(report) == {
        "Benign/cut.jpg": ("corrupt_image", True),
        "Benign/empty.jpg": ("empty_file", True),
        "Early/notes.txt": ("unsupported_media_type", True),
        "Early/print.jpg": ("unsupported_pixel_format", True),
    }
    assert report.version == version
    assert [row["code"] for row in report.record["left_out"] if row["label"] == "Early"] in (
        ["unsupported_media_type", "unsupported_pixel_format"],
        ["unsupported_pixel_format", "unsupported_media_type"],
    )


def test_an_image_under_the_name_of_another_type_is_kept_and_reported(folder: Path) -> None:
    (folder / "Pro" / "0.png").rename(folder / "Pro" / "0.jpg")
    report = imported(folder)
    assert faults(report) == {"Pro/0.jpg": ("mislabelled_type", False)}
    assert "image/png" in report.faults[0].detail
    assert report.record["counts"]["Pro"] == 3


def test_copies_are_one_group_and_are_reported(folder: Path) -> None:
    shutil.copy(folder / "Pro" / "0.png", folder / "Pro" / "copy.png")
    report = imported(folder)
    assert report.duplicates == (("Pro/0.png", "Pro/copy.png"),)
    assert report.record["counts"]["Pro"] == 4
    assert report.record["groups"] == 11
    assert report.faults == ()


def test_an_image_in_two_classes_is_left_out(folder: Path) -> None:
    shutil.copy(folder / "Pro" / "0.png", folder / "Early" / "copy.png")
    report = imported(folder)
    assert faults(report) == {
        "Early/copy.png": ("label_conflict", True),
        "Pro/0.png": ("label_conflict", True),
    }
    assert report.record["counts"] == {"Benign": 3, "Early": 3, "Pre": 3, "Pro": 2}


def test_an_overlap_across_classes_is_a_fault_of_labelling(folder: Path) -> None:
    (folder / "Pre" / "1.png").rename(folder / "Pro" / "moved.png")
    report = imported(folder)
    assert faults(report) == {
        "Pre/0.png": ("overlap_across_classes", False),
        "Pro/moved.png": ("overlap_across_classes", False),
    }
    detail = {fault.file: fault.detail for fault in report.faults}
    assert "Pro/moved.png" in detail["Pre/0.png"]


@pytest.mark.parametrize("left", ["nothing", "a folder without files", "a file that is no image"])
def test_a_class_without_usable_images_is_refused(folder: Path, left: str) -> None:
    shutil.rmtree(folder / "Early")
    if left != "nothing":
        (folder / "Early").mkdir()
    if left == "a file that is no image":
        (folder / "Early" / "0.png").write_text("text")
    with pytest.raises(DatasetError, match="Early"):
        imported(folder)
    assert not (folder.parent / "versions").exists()


def test_versions_are_listed_and_told_by_their_first_characters(folder: Path) -> None:
    report = imported(folder)
    versions = report.path.parent
    assert read_versions(versions) == [report.record]
    assert read_version(report.version[:8], versions) == report.record
    with pytest.raises(NotFoundError, match="0 data set versions"):
        read_version("x", versions)
    (folder / "Pro" / "more.png").write_bytes(smear_bytes(77))
    imported(folder)
    with pytest.raises(NotFoundError, match="2 data set versions"):
        read_version("", versions)


def test_faults_are_told_in_the_order_of_files(folder: Path) -> None:
    for name in ("b.jpg", "a.jpg"):
        (folder / "Pro" / name).touch()
    report = imported(folder)
    assert [fault.file for fault in report.faults] == ["Pro/a.jpg", "Pro/b.jpg"]
    assert isinstance(report.faults[0], Fault)


def test_groups_come_from_the_manifest_or_from_the_search(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "overlaps"

    def sizes(**options: str) -> int:
        read = read_dataset(folder, cache=cache, **options)  # type: ignore[arg-type]
        return len({sample.group for sample in read.samples})

    assert (sizes(), sizes(groups="detected"), sizes(groups="none")) == (11, 11, 12)
    with pytest.raises(DatasetError, match=r"No manifest\.csv"):
        sizes(groups="manifest")
    (folder / "manifest.csv").write_text("file,group\nPro/0.png,g\nPro/1.png,g\nPro/2.png,g\n")
    # What a manifest does not name is searched for, unless the manifest alone is asked.
    assert (sizes(), sizes(groups="manifest"), sizes(groups="detected")) == (9, 10, 11)


def test_a_manifest_names_files_by_class_and_name_whatever_comes_before(folder: Path) -> None:
    rows = [f"Original/{label}/{index}.png,{label}" for label in LABELS for index in range(3)]
    (folder / "manifest.csv").write_text("\n".join(["file,group", *rows]), encoding="utf-8-sig")
    groups = {sample.label: sample.group for sample in read_dataset(folder).samples}
    assert groups == {label: str(label) for label in LABELS}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"path,patient\nPro/0.png,p\n", "columns"),
        (b"", "columns"),
        ("file,group\nPro/Öl.png,g\n".encode("latin-1"), "UTF-8"),
        (b"group,file\ng\n,Pro/0.png\n", "names its images"),
    ],
)
def test_a_manifest_that_says_nothing_is_refused(folder: Path, content: bytes, said: str) -> None:
    (folder / "manifest.csv").write_bytes(content)
    with pytest.raises(DatasetError, match=said):
        read_dataset(folder, groups="manifest")


def test_a_copy_is_in_the_group_of_what_it_is_a_copy_of(folder: Path) -> None:
    shutil.copy(folder / "Pro" / "0.png", folder / "Pro" / "copy.png")
    (folder / "manifest.csv").write_text("file,group\nPro/0.png,g\nPro/1.png,g\nPro/2.png,\n")
    samples = read_dataset(folder, groups="manifest").samples
    assert {s.path.name for s in samples if s.group == "g"} == {"0.png", "1.png", "copy.png"}


def test_what_a_file_manager_left_is_no_image_of_a_class(folder: Path) -> None:
    for name in (".DS_Store", "._0.png", "Thumbs.db", "desktop.ini"):
        (folder / "Pro" / name).write_text("of its own")
    assert imported(folder).faults == ()


def test_evaluation_without_groups_searches_nothing(folder: Path, tmp_path: Path) -> None:
    read_dataset(folder, groups="none", cache=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_the_search_passes_over_files_that_are_no_images(folder: Path, tmp_path: Path) -> None:
    (folder / "Pro" / "notes.txt").write_text("text")
    read = read_dataset(folder, cache=tmp_path / "overlaps")
    assert len(read.samples) == 13
    assert len({sample.group for sample in read.samples}) == 12
