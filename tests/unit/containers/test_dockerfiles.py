"""The Dockerfiles, and the requirements that they install."""

from __future__ import annotations

import re
import subprocess

import pytest

from shared.settings import PROJECT_ROOT
from tests.unit.containers.support import (
    DOCKERFILES,
    FROM,
    HADOLINT,
    SETTINGS,
    each_dockerfile,
    final_stages,
    locked,
    stages,
)


def test_there_is_a_dockerfile_a_service() -> None:
    assert set(DOCKERFILES) == {"api", "trainer", "worker"}


@each_dockerfile
def test_a_dockerfile_passes_hadolint(image: str) -> None:
    done = subprocess.run(
        [str(HADOLINT), "--no-color", str(DOCKERFILES[image])],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@each_dockerfile
def test_an_image_is_made_in_stages_and_runs_as_an_ordinary_user(image: str) -> None:
    assert len(stages(image)) > 1
    for name, text in final_stages(image).items():
        users = re.findall(r"^USER (\S+)$", text, re.MULTILINE)
        assert users, name
        assert users[-1] == "10001:10001", name
        assert "pip install" not in text, name
        assert re.findall(r'^CMD \["python", "-m", "[\w.]+"\]$', text, re.MULTILINE), name
        assert "PYTHONUNBUFFERED=1" in text, name


@each_dockerfile
def test_names_in_a_dockerfile_are_those_that_the_code_reads(image: str) -> None:
    for text in final_stages(image).values():
        given = dict(re.findall(r"(HEMOTRIAGE_\w+)=(\S+)", text))
        assert set(given) <= SETTINGS
        assert given["HEMOTRIAGE_MODELS_DIR"] == "/app/models"
        assert "\nWORKDIR /app\n" in text
        assert "\nCOPY models models\n" in text


def test_python_is_pinned_and_the_same_everywhere() -> None:
    bases = {
        base
        for image in DOCKERFILES
        for base, _ in FROM.findall(DOCKERFILES[image].read_text())
        if base not in stages(image)
    }
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm", bases.pop())


def test_the_ports_of_the_api_agree() -> None:
    text = DOCKERFILES["api"].read_text()
    ports = re.findall(r"(?:EXPOSE |API_PORT=|127\.0\.0\.1:)(\d+)", text)
    assert ports == ["8000"] * 3


def test_a_worker_without_a_target_is_the_one_for_the_cpu() -> None:
    assert list(stages("worker"))[-1] == "cpu"
    assert "--from=build /venv" in stages("worker")["cpu"]


@each_dockerfile
def test_what_is_installed_is_locked_by_hash(image: str) -> None:
    installs = re.findall(r"pip install (.*)", DOCKERFILES[image].read_text())
    names = ("worker", "explainer") if image == "worker" else (image,)
    locks = [f"--no-cache-dir --no-deps --require-hashes -r requirements/{n}.txt" for n in names]
    # The one exception, named in docs/containers.md: there is no lock of TensorFlow for the GPU.
    gpu = '--no-cache-dir "tensorflow[and-cuda]==2.21.0" "keras==3.15.1"'
    assert installs == ([*locks, gpu] if image == "worker" else locks)


def test_the_explainer_is_the_worker_with_more_packages_of_the_same_versions() -> None:
    def pinned(name: str) -> set[str]:
        text = (PROJECT_ROOT / f"requirements/{name}.txt").read_text()
        return set(re.findall(r"^\S+==\S+", text, re.MULTILINE))

    assert pinned("worker") < pinned("explainer")
    assert {"lime", "scikit-image"} <= locked("explainer")


def test_the_versions_on_the_gpu_are_those_that_the_trainer_is_locked_to() -> None:
    trainer = (PROJECT_ROOT / "requirements" / "trainer.txt").read_text()
    gpu = dict(re.findall(r'"([a-z]+)(?:\[.*?\])?==([\d.]+)"', stages("worker")["build-gpu"]))
    assert set(gpu) == {"tensorflow", "keras"}
    assert f"\ntensorflow-cpu=={gpu['tensorflow']} " in trainer
    assert f"\nkeras=={gpu['keras']} " in trainer


@pytest.mark.parametrize("name", ["api", "worker", "explainer"])
def test_api_and_cpu_worker_are_installed_without_tensorflow(name: str) -> None:
    packages = locked(name)
    assert "celery" in packages
    assert not [package for package in packages if package.startswith(("tensorflow", "keras"))]
    assert ("openvino" in packages) == (name != "api")


@pytest.mark.parametrize("name", ["api", "worker", "explainer", "trainer", "local", "dev"])
def test_every_requirement_is_locked_by_hash_and_names_no_index(name: str) -> None:
    text = (PROJECT_ROOT / f"requirements/{name}.txt").read_text()
    pinned = re.findall(r"^\S+==\S+ \\$", text, re.MULTILINE)
    requirements = re.findall(r"^[a-z0-9].*$", text, re.MULTILINE)
    assert pinned == requirements
    assert "://" not in text
