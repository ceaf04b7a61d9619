"""Training by the real trainer: followed, killed in the middle, stopped, cancelled."""

from __future__ import annotations

import os
import signal
import uuid
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from shared.client import Client
from shared.client.trainings import Training
from shared.db.session import create_database, create_sessions
from shared.local.service import LocalService
from shared.storage.s3 import S3Store
from tests.command_line import command_line
from tests.conftest import settings_of
from tests.factories import class_folders, smear_bytes
from tests.trainings import a_stored_dataset
from tests.waiting import eventually

EPOCHS = 5
OVERRIDES = {"images_per_class": 6, "batch_size": 8, "max_epochs": EPOCHS, "learning_rate": 0.01}
"""Small, and yet long enough to be killed in the middle of it."""


@pytest.fixture(scope="module")
def dataset_id(service: LocalService, tmp_path_factory: pytest.TempPathFactory) -> uuid.UUID:
    """A data set version of five drawn fields a class."""
    settings = settings_of(service.environment())
    database = create_database(settings, pool_size=1)
    folder = class_folders(tmp_path_factory.mktemp("drawn") / "images", 5)
    stored = a_stored_dataset(create_sessions(database), S3Store(settings, pool_size=1), folder)
    database.dispose()
    return stored


def asked(dataset_id: uuid.UUID) -> dict[str, Any]:
    return {
        "architecture": "cnn_custom",
        "dataset_id": str(dataset_id),
        "overrides": OVERRIDES,
    }


def child_of(run_id: str) -> psutil.Process | None:
    """The process that trains a run."""
    for process in psutil.process_iter(["cmdline"]):
        if run_id in (process.info["cmdline"] or ()) and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None


def reach(client: Client, run_id: str, epochs: int) -> None:
    eventually(lambda: len(client.training(run_id).epochs) >= epochs, 120)
    assert client.training(run_id).status == "running", "it ended too early"


def ended(service: LocalService, client: Client, run_id: str) -> Training:
    eventually(
        lambda: client.training(run_id).status not in ("queued", "running"),
        600,
        meanwhile=service.ensure_alive,
    )
    return client.training(run_id)


def is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_run_is_followed_to_its_record_at_the_command_line(
    service: LocalService, client: Client, dataset_id: uuid.UUID, tmp_path: Path
) -> None:
    where = {"HEMOTRIAGE_URL": service.url, "HEMOTRIAGE_API_KEY": service.api_key}
    options = ["--set=images_per_class=4", f"--dataset={dataset_id}", "--name=drawn"]
    done = command_line("train", "cnn_custom", *options, "--epochs=2", "--wait", **where)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    epochs = [line.split()[2] for line in lines if line.startswith("seed=1 sibling")]
    assert epochs == ["epoch=1", "epoch=2"]
    run_id = lines[-1].split()[0]
    assert lines[-1] == f"{run_id} succeeded cnn_custom attempts=1 progress=100% name=drawn"

    shown = command_line("train", "show", run_id, **where).stdout
    assert "seed 1: " in shown
    assert " of 4 right" in shown
    assert run_id in command_line("train", "list", "--status=succeeded", **where).stdout
    refused = command_line("train", "cancel", run_id, **where)
    assert refused.stderr.startswith("hemotriage: conflict: ")
    ended_run = client.training(run_id)
    assert ended_run.registered.startswith("cnn_custom@"), ended_run.registration_error
    field = tmp_path / "field.png"
    field.write_bytes(smear_bytes())
    job = client.wait(client.submit([field], fields={"model": ended_run.registered}).id)
    assert job.model == ended_run.registered
    assert job.result.images[0].similar
    record = ended_run.record
    (run,) = record["models"]["cnn_custom"]["runs"]
    assert (record["base"], record["data"]["dataset_id"]) == (None, str(dataset_id))
    work = Path(service.environment()["HEMOTRIAGE_TRAINER_WORK"]) / "runs" / run_id
    assert (work / run["folder"] / "model.weights.h5").is_file()
    assert not (work / run["folder"] / "checkpoint").exists()


@pytest.mark.slow
def test_a_run_that_is_cancelled_stops_within_seconds(
    service: LocalService, client: Client, dataset_id: uuid.UUID
) -> None:
    run_id = client.train(asked(dataset_id)).id
    eventually(lambda: client.training(run_id).device, 200)
    child = child_of(run_id)
    assert client.cancel_training(run_id).status == "cancelled"
    eventually(lambda: is_gone(child), 60)
    assert service.applications["trainer"].is_running()
    assert client.training(run_id).record is None


def test_the_api_stops_at_once_though_somebody_listens(
    service: LocalService, client: Client, dataset_id: uuid.UUID
) -> None:
    api, trainer = service.applications["api"], service.applications["trainer"]
    headers = {"Authorization": f"Bearer {service.api_key}"}
    trainer.pause()
    try:
        run_id = client.train(asked(dataset_id)).id
        address = f"{service.url}/v1/trainings/{run_id}/events"
        with httpx.stream("GET", address, headers=headers, trust_env=False) as listening:
            assert "queued" in next(part for part in listening.iter_text() if "status" in part)
            api.ask_to_stop()
            eventually(lambda: not api.is_running(), 15)
        assert api.exit_code == 0
        api.start()
        api.wait_ready()
        client.cancel_training(run_id)
    finally:
        trainer.resume()


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_run_that_was_killed_or_stopped_measures_as_one_that_was_not(
    service: LocalService, client: Client, dataset_id: uuid.UUID
) -> None:
    trainer = service.applications["trainer"]
    whole = ended(service, client, client.train(asked(dataset_id)).id)
    assert (whole.status, whole.attempts) == ("succeeded", 1)

    killed = client.train(asked(dataset_id)).id
    reach(client, killed, EPOCHS // 2 - 1)
    child = child_of(killed)
    os.kill(trainer.pid, signal.SIGKILL)  # and not its group: the kernel ends the child
    eventually(lambda: is_gone(child), 10)
    after_kill = ended(service, client, killed)

    crashed = client.train(asked(dataset_id)).id
    reach(client, crashed, EPOCHS // 2 - 1)
    child_of(crashed).send_signal(signal.SIGKILL)
    after_crash = ended(service, client, crashed)

    stopped = client.train(asked(dataset_id)).id
    reach(client, stopped, EPOCHS // 2 - 1)
    child = child_of(stopped)
    trainer.ask_to_stop()
    eventually(lambda: not trainer.is_running(), 15)
    assert trainer.exit_code == 0
    assert is_gone(child)
    assert client.training(stopped).status == "queued"
    after_stop = ended(service, client, stopped)

    (expected,) = whole.record["models"]["cnn_custom"]["runs"]
    for run in (after_kill, after_crash, after_stop):
        assert (run.status, run.attempts) == ("succeeded", 2)
        (found,) = run.record["models"]["cnn_custom"]["runs"]
        assert found["metrics"]["accuracy"] == expected["metrics"]["accuracy"]
        assert found["metrics"]["confusion_matrix"] == expected["metrics"]["confusion_matrix"]
        assert found["validation_loss"] == pytest.approx(expected["validation_loss"], rel=1e-3)
        assert found["plan"] == expected["plan"]
        for name, values in expected["history"].items():
            assert found["history"][name] == pytest.approx(values, rel=1e-3), name
        assert [e["epoch"] for e in run.epochs] == list(range(1, EPOCHS + 1))
