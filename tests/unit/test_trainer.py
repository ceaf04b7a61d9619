"""Data sets, splits and calibration of the trainer."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.trainer.calibrate import fit_temperature
from services.trainer.dataset import Dataset, load_pixels, read_dataset
from services.trainer.evaluate import read_part
from services.trainer.splits import (
    Protocol,
    Split,
    require_every_class,
    require_unseen,
    split_dataset,
)
from services.trainer.study import best_run
from shared.errors import ConflictError, DatasetError
from shared.local.synthetic import draw_smear
from shared.models.registry import ModelVersion
from shared.triage.calibration import Calibration
from shared.triage.labels import LABELS
from tests.factories import class_folders
from tests.versions import a_version_with_cases, an_ensemble


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty drawn fields a class; the first two of each class are one group."""
    root = class_folders(tmp_path_factory.mktemp("drawn") / "images", 20)
    rows = [
        f"{label}/{index}.png,{label}-{max(index, 1)}" for label in LABELS for index in range(20)
    ]
    (root.parent / "manifest.csv").write_text("\n".join(["file,group", *rows]))
    return root


@pytest.fixture(scope="module")
def drawn(folder: Path) -> Dataset:
    return read_dataset(folder)


def parts(split: Split) -> tuple[set[str], set[str], set[str]]:
    return tuple(
        {sample.sha256 for sample in part} for part in (split.train, split.validation, split.test)
    )  # type: ignore[return-value]


@pytest.mark.parametrize("protocol", list(Protocol))
def test_a_split_uses_every_image_once_and_in_every_class(
    drawn: Dataset, protocol: Protocol
) -> None:
    split = split_dataset(drawn, protocol, seed=1)
    train, validation, test = parts(split)
    assert len(train) + len(validation) + len(test) == len(drawn.samples)
    assert not (train & validation or train & test or validation & test)
    for part, low, high in ((split.train, 12, 13), (split.validation, 3, 5), (split.test, 3, 4)):
        for label in LABELS:
            assert low <= sum(sample.label is label for sample in part) <= high


def test_no_group_crosses_a_grouped_split(drawn: Dataset) -> None:
    for seed in range(20):
        split = split_dataset(drawn, Protocol.GROUPED, seed)
        groups = [{s.group for s in part} for part in (split.train, split.validation, split.test)]
        assert not (groups[0] & groups[1] or groups[0] & groups[2] or groups[1] & groups[2])


def test_a_group_of_several_classes_is_in_one_part(folder: Path) -> None:
    samples = read_dataset(folder).samples
    spanning = tuple(replace(s, group=s.path.name) for s in samples)
    for seed in range(20):
        split = split_dataset(Dataset(folder, spanning), Protocol.GROUPED, seed)
        groups = [{s.group for s in part} for part in (split.train, split.validation, split.test)]
        assert sum(map(len, groups)) == len(set.union(*groups)) == 20


def test_a_split_without_a_class_in_a_part_is_refused(drawn: Dataset) -> None:
    few = tuple(s for s in drawn.samples if s.path.stem in {"3", "4", "5"})
    with pytest.raises(DatasetError, match="the test part has no Benign"):
        require_every_class(split_dataset(Dataset(drawn.root, few), Protocol.GROUPED, 1))


@pytest.mark.parametrize("is_same", [True, False])
def test_what_may_know_the_test_part_is_refused(drawn: Dataset, *, is_same: bool) -> None:
    split, other = (split_dataset(drawn, Protocol.GROUPED, seed) for seed in (1, 2))
    of_teacher = split if is_same else other
    card = {
        "name": "student",
        "version": 1,
        "data": {"version": drawn.version},
        "split": {"hash": of_teacher.hash},
        "artefacts": {},
    }
    elsewhere = {**card, "data": {"version": "of another laboratory"}}
    teachers = [ModelVersion("student", 1, drawn.root, told) for told in (elsewhere, card)]
    expected = nullcontext() if is_same else pytest.raises(ConflictError, match="student@1")
    with expected:
        require_unseen(split, drawn, teachers)


def test_what_trained_on_images_of_the_test_part_is_refused_whatever_its_data_set_was(
    drawn: Dataset, tmp_path: Path
) -> None:
    """One file more or less makes another data set of the same images."""
    split = split_dataset(drawn, Protocol.GROUPED, 1)
    shown = split.train[:4] + split.test[:2]
    seen = a_version_with_cases(tmp_path, "student", shown, split_hash="of a file more")
    unseen = a_version_with_cases(tmp_path, "cnn_custom", split.train, split_hash="of a file more")
    own = a_version_with_cases(tmp_path, "vit_tiny", shown, split_hash=split.hash)
    joined = an_ensemble(tmp_path, unseen, seen, split_hash="of a file more")
    require_unseen(split, drawn, [unseen, own])
    for teacher in (seen, joined):
        said = f"{teacher} was trained on 2 of the {len(split.test)} images of the test part"
        with pytest.raises(ConflictError, match=said):
            require_unseen(split, drawn, [unseen, teacher])


def test_a_split_is_told_by_its_seed_alone(drawn: Dataset) -> None:
    reordered = Dataset(drawn.root, tuple(reversed(drawn.samples)))
    first, again, other = (
        split_dataset(dataset, Protocol.GROUPED, seed)
        for dataset, seed in ((drawn, 1), (reordered, 1), (drawn, 2))
    )
    assert first.hash == again.hash != other.hash
    assert drawn.version == reordered.version


def test_a_folder_without_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="Benign"):
        read_dataset(tmp_path)


def test_files_that_are_no_images_are_all_named(drawn: Dataset, tmp_path: Path) -> None:
    for label in LABELS:
        (tmp_path / label).mkdir()
        draw_smear(1).save(tmp_path / label / "good.png")
    (tmp_path / "Early" / "empty.jpg").touch()
    (tmp_path / "Pre" / "notes.jpg").write_text("text")
    with pytest.raises(DatasetError) as refused:
        load_pixels(read_dataset(tmp_path).samples)
    assert "Early/empty.jpg (empty_file)" in str(refused.value)
    assert "Pre/notes.jpg (unsupported_media_type)" in str(refused.value)


def test_what_is_measured_on_leaves_out_and_names_what_is_no_image(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "images", 2)
    (root / "Early" / "0.png").write_bytes(b"")
    with pytest.raises(DatasetError, match="empty_file"):
        read_part(read_dataset(root, groups="none"))
    part = read_part(read_dataset(root, groups="none"), leave_out=True)
    assert part.measured_on["left_out"] == {"Early/0.png": "empty_file"}
    assert part.measured_on["counts"] == {"Benign": 2, "Early": 1, "Pre": 2, "Pro": 2}
    assert len(part.images) == len(part.labels) == len(part.samples) == 7
    (root / "Early" / "1.png").write_text("text")
    with pytest.raises(DatasetError, match=r"of Early: Early/0\.png"):
        read_part(read_dataset(root, groups="none"), leave_out=True)


def test_a_class_folder_that_is_called_otherwise_is_told(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "images", 1)
    (root / "Pro").rename(root / "Pro-B")
    with pytest.raises(DatasetError, match="There is Benign, Early, Pre, Pro-B"):
        read_dataset(root)


def test_the_published_protocol_alone_shows_the_scale_bar(drawn: Dataset) -> None:
    assert [protocol for protocol in Protocol if not protocol.masked] == [Protocol.PUBLISHED]
    masked, bare = (load_pixels(drawn.samples[:1], masked=flag) for flag in (True, False))
    assert np.array_equal(masked[:, :184], bare[:, :184])
    assert not np.array_equal(masked, bare)


@pytest.mark.parametrize(("with_validation", "best"), [(False, 2), (True, 1)])
def test_the_validation_loss_chooses_only_what_it_did_not_train(
    with_validation: bool, best: int
) -> None:
    runs = [
        {"plan": {"seed": seed, "with_validation": with_validation}, "validation_loss": loss}
        for seed, loss in ((1, 0.3), (2, 0.1), (3, 0.2))
    ]
    assert best_run({"runs": runs})["plan"]["seed"] == best


def test_a_fitted_temperature_mends_overconfidence() -> None:
    rng = np.random.default_rng(0)
    true = rng.dirichlet(np.ones(4), 4000)
    labels = np.array([rng.choice(4, p=row) for row in true])
    overconfident = (
        Calibration.of_temperature(0.5).apply(true.astype(np.float32)).astype(np.float32)
    )
    assert fit_temperature(labels, overconfident) == pytest.approx(2.0, abs=0.15)


@pytest.mark.dataset
def test_the_real_data_set_is_read_with_its_groups(dataset: Path) -> None:
    real = read_dataset(dataset)
    assert real.counts() == {"Benign": 403, "Early": 788, "Pre": 770, "Pro": 639}
    assert len({sample.group for sample in real.samples}) == 2316
    split = split_dataset(real, Protocol.GROUPED, 2022)
    train = {sample.group for sample in split.train}
    assert not train & {sample.group for sample in split.test + split.validation}
