"""How far a training run is: over seeds and siblings, before and after a checkpoint."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from services.trainer.dataset import Sample
from services.trainer.plan import Recipe, make_plan
from services.trainer.reports import (
    Heard,
    ReportedError,
    ReportedPermanentError,
    ReportedTransientError,
    Reports,
)
from services.trainer.splits import Protocol, Split
from services.trainer.study import RUN, Study
from services.trainer.tracking import Tracker, TrainingDivergedError, parts_of
from shared.errors import DatasetError
from shared.storage import StorageUnavailableError
from shared.triage.labels import Label

FIGURES = {"loss": 0.5, "val_loss": 0.25}


@pytest.fixture
def pipe() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Two seeds, each with its sibling, of four epochs."""
    plan = make_plan("cnn_custom", Recipe.ROBUST, max_epochs=4, with_validation=True)
    split = Split(Protocol.GROUPED, 1, (), (), ())
    return Study(None, split, (plan,), (1, 2), tmp_path)


@pytest.fixture
def tracker(study: Study, pipe: io.StringIO) -> Tracker:
    return Tracker(Reports(pipe, attempt=1), parts_of(study), 4)


def test_a_run_on_another_split_is_kept_elsewhere(study: Study) -> None:
    """Else it would go on from weights that images of its test part may have trained."""
    sample = Sample(Path("a.png"), Label.PRO, "a" * 64, "a")
    other = replace(study, split=replace(study.split, test=(sample,)))
    assert {part.folder for part in parts_of(study)}.isdisjoint(
        part.folder for part in parts_of(other)
    )


def heard(pipe: io.StringIO) -> Heard:
    found = Heard()
    for line in pipe.getvalue().splitlines():
        found.hear(line.encode())
    return found


def test_the_parts_of_a_run_are_told_in_order(study, tracker, pipe) -> None:
    parts = parts_of(study)
    assert [(part.seed, part.sibling) for part in parts] == [
        (1, False),
        (1, True),
        (2, False),
        (2, True),
    ]
    assert len({part.folder for part in parts}) == 4
    shares = []
    for part in parts:
        with tracker.progress_of(part.folder.name, 4) as progress:
            for number in range(4):
                progress.begin_epoch(number, 2)
                progress.end_epoch(number, FIGURES)
                shares.append(heard(pipe).progress)
    assert shares == sorted(shares)
    assert shares[7] == pytest.approx(0.98 / 2)
    assert shares[-1] == pytest.approx(0.98)
    told = [one for one in heard(pipe).told if one.kind == "epoch"]
    assert len({one.key for one in told}) == 16
    assert told[4].document == {"seed": 1, "sibling": True, "epoch": 1, "of": 4, **FIGURES}
    lines = [one.document["text"] for one in heard(pipe).told if one.kind == "log"]
    assert lines[1] == "seed 1 without the validation part begins"


def test_the_time_that_is_left_counts_what_this_attempt_has_done(
    study, tracker, pipe, monkeypatch
) -> None:
    clock = iter((100.0, 110.0))
    monkeypatch.setattr("services.trainer.tracking.time.monotonic", lambda: next(clock))
    with tracker.progress_of(parts_of(study)[2].folder.name, 4) as progress:
        for number in range(2):  # told again from the checkpoint
            progress.end_epoch(number, FIGURES)
        progress.begin_epoch(2, 2)
        assert heard(pipe).seconds_left is None
        progress.end_epoch(2, FIGURES)
    # An epoch took ten seconds; of 16, 11 are done.
    assert heard(pipe).seconds_left == pytest.approx(50)


def test_while_it_is_measured_nobody_knows_how_much_time_is_left(study, tracker, pipe) -> None:
    tracker.at(parts_of(study)[-1], 4, pausing=False)
    tracker.trained()
    told = json.loads(pipe.getvalue().splitlines()[-1])
    assert (told["progress"], told["seconds_left"]) == (0.98, None)


def test_finished_parts_are_told_again_under_the_same_keys(study, tracker, pipe) -> None:
    part = parts_of(study)[0]
    part.folder.mkdir()
    history = {name: [value] * 2 for name, value in FIGURES.items()}
    (part.folder / RUN).write_text(json.dumps({"history": history}))
    tracker.retell()
    again = [one.key for one in heard(pipe).told]
    with tracker.progress_of(part.folder.name, 4) as progress:
        for number in range(2):
            progress.end_epoch(number, FIGURES)
    keys = [one.key for one in heard(pipe).told if one.kind == "epoch"]
    assert keys == again * 2


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_ends_the_run(study, tracker, loss: float) -> None:
    with (
        tracker.progress_of(parts_of(study)[0].folder.name, 4) as progress,
        pytest.raises(TrainingDivergedError, match="seed 1, epoch 3"),
    ):
        progress.end_epoch(2, {**FIGURES, "loss": loss})


@pytest.mark.parametrize(
    ("error", "kind", "code", "shown"),
    [
        (DatasetError("no Pro"), ReportedPermanentError, "dataset_invalid", "no Pro"),
        (StorageUnavailableError(), ReportedTransientError, "storage_unavailable", "object store"),
        (ValueError("Ada Lovelace"), ReportedError, "internal_error", "ValueError"),
    ],
)
def test_an_error_arrives_as_what_it_was(pipe, error, kind, code: str, shown: str) -> None:
    Reports(pipe).failed(error)
    arrived = heard(pipe).error
    assert type(arrived) is kind
    assert arrived.code == code
    assert shown in str(arrived)
    assert "Lovelace" not in str(arrived)
