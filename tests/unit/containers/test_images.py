"""What an image runs needs nothing that the image does not hold."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from shared.settings import PROJECT_ROOT
from tests.unit.containers.support import (
    final_stages,
    locked,
)

IMPORTS = """
import importlib, importlib.abc, importlib.metadata, re, sys

installed = {"hemotriage", *sys.argv[1].split(",")}
foreign = {
    module
    for module, packages in importlib.metadata.packages_distributions().items()
    if not installed & {re.sub("[-_.]+", "-", package).lower() for package in packages}
}

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname, path, target=None):
        if fullname.partition(".")[0] in foreign:
            raise ModuleNotFoundError(f"No module named {fullname!r} in the image", name=fullname)

# The checkout is installed here too; only the copy in the working folder counts.
sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in getattr(f, "__module__", "")]
sys.path[:] = [path for path in sys.path if path != sys.argv[2]]
sys.meta_path.insert(0, Missing())
for module in sys.argv[3:]:
    importlib.import_module(module)
"""


def copy_into(folder: Path, image: str) -> None:
    """Lay out an image's files as its Dockerfile does, less what the builder is not sent."""
    sent = (PROJECT_ROOT / ".dockerignore").read_text().splitlines()
    assert {"*", "!requirements/*.txt"} <= set(sent)
    left_out = shutil.ignore_patterns("__pycache__", "Dockerfile")
    text = next(iter(final_stages(image).values()))
    for source, target in re.findall(r"^COPY ([^-]\S*) (\S+)$", text, re.MULTILINE):
        assert f"!{source.split('/')[0]}/" in sent, source
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        if (PROJECT_ROOT / source).is_dir():
            shutil.copytree(PROJECT_ROOT / source, folder / target, ignore=left_out)
        else:
            shutil.copy(PROJECT_ROOT / source, folder / target)
    for pattern in sent:
        if pattern[:1].isalpha():
            assert (PROJECT_ROOT / pattern).is_dir(), pattern
            shutil.rmtree(folder / pattern)


@pytest.mark.exhaustive  # and of `make lint`
@pytest.mark.parametrize(
    ("image", "modules"),
    [
        ("api", ("services.api.main", "services.api.server")),
        ("api", ("services.cli.migrate", "services.cli.relay")),
        ("api", ("services.cli.keys", "services.cli.models")),
        ("api", ("services.cli.jobs", "services.cli.webhooks")),
        ("api", ("services.cli.audit", "services.cli.backup", "services.cli.restore")),
        ("api", ("services.cli.erase", "services.cli.holds", "services.cli.retention")),
        ("api", ("services.gateway.main",)),
        ("worker", ("services.worker.main", "services.worker.health")),
        ("worker", ("services.worker.shadow", "shared.heartbeat")),
        ("worker", ("shared.models.engines.openvino_engine",)),
        ("worker", ("services.cli.jobs", "services.cli.replaying")),
        ("explainer", ("services.worker.explainer", "shared.heartbeat")),
        ("trainer", ("services.trainer.main", "services.cli.study", "services.cli.evaluate")),
        ("trainer", ("services.trainer.precisions", "services.trainer.attempt")),
    ],
)
def test_what_an_image_runs_needs_nothing_that_it_does_not_hold(
    image: str, modules: tuple[str, ...], tmp_path: Path
) -> None:
    copy_into(tmp_path, "worker" if image == "explainer" else image)
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS, ",".join(locked(image)), str(PROJECT_ROOT), *modules],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
